"""The table of published data sets: folder structure, splits, licence, source and downloads of each.

A checksum is given only where a publisher or several users state it; None means that nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metasr.data import drawn_sets
from metasr.data.download import Archive

_LEARN = "samples, div2k, flickr2k, df2k, bsds500, t91, ucmerced or an image_folder"

# The 100 images of BSDS500's val split, which are the test set B100.
_B100 = frozenset(
    """
    3096 8023 12084 14037 16077 19021 21077 24077 33039 37073 38082 38092 41033 41069 42012 42049 43074 45096 54082
    55073 58060 62096 65033 66053 69015 69020 69040 76053 78004 85048 86000 86016 86068 87046 89072 97033 101085 101087
    102061 103070 105025 106024 108005 108070 108082 109053 119082 123074 126007 130026 134035 143090 145086 147091
    148026 148089 156065 157055 159008 160068 163085 167062 167083 170057 175032 175043 182053 189080 196073 197017
    208001 210088 216081 219090 220075 223061 227092 229036 236037 241004 241048 253027 253055 260058 271035 285079
    291000 295087 296007 296059 299086 300091 302008 304034 304074 306005 351093 361010 376043 385039
    """.split()  # noqa: SIM905
)

_NO_B100 = (
    "BSDS500's val split is the test set B100, the same 100 images, so nothing may be learned or tuned on it; "
    "train on the 400 images of its train and test folders (split 'train'), hold some of them out with val_fraction "
    "(data.val_fraction=0.05), or validate on 'samples'"
)

_NO_VAL = "it has no validation images; hold some out with val_fraction (data.val_fraction=0.05)"


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a data set.

    Attributes:
        name: its key in ``CATALOG``.
        title: its full name.
        structure: the folder structure that is expected, for people.
        folders: names of its folder below the root, tried in order, in any case.
        splits: for each split the layouts tried in order. A layout is a glob of files below the set's folder, in any
            case; parts joined by `` + `` must all be there.
        counts: how many images each split has; another number is warned of.
        licence: under which terms it may be used.
        source: whom to cite, and where it comes from.
        archives: what to download; empty where that cannot be automatic.
        crop: longest and shortest side in pixels that are kept, from the top left, or None.
        refusals: splits that must not be used, with the reason and what to do instead.
        parts: sets it is put together from, where it has no folder of its own.
        apart: stems of files that may be in no split: the test images of another set.
        drawn: whether its pictures are made by code, so that there is nothing to find.
    """

    name: str
    title: str
    structure: str
    folders: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    licence: str = "not stated by its authors; research use"
    source: str = ""
    archives: tuple[Archive, ...] = ()
    crop: tuple[int, int] | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()
    drawn: bool = False


def _test_set(
    name: str,
    title: str,
    count: int,
    folders: tuple[str, ...],
    *,
    source: str,
    layouts: tuple[str, ...] = (),
    licence: str = "not stated by its authors; research use",
    archives: tuple[Archive, ...] = (),
    crop: tuple[int, int] | None = None,
) -> DatasetInfo:
    """Describe a test-only set, in the layouts in which such sets are passed on."""
    refusal = f"it is a test set, and a result on it means nothing once it was learned from; train on {_LEARN}"
    own = tuple(f"{folder}{below}" for folder in folders[:2] for below in ("_HR/*", "/HR/*", "/image_SRF_2/*_HR.*"))
    return DatasetInfo(
        name=name,
        title=title,
        structure=f"ROOT/{folders[0]}/*.png, or in ROOT/{folders[0]}/: HR, {folders[0]}_HR, GTmod12 or image_SRF_2",
        folders=(*folders, f"benchmark/{folders[0]}"),
        splits={
            "test": ("HR/*", "GTmod12/*", "original/*", "image_SRF_2/*_HR.*", "image_SRF_4/*_HR.*", *own, *layouts, "*")
        },
        counts={"test": count},
        licence=licence,
        source=source,
        archives=archives,
        crop=crop,
        refusals={"train": refusal, "val": refusal},
    )


def _drawn(name: str, title: str) -> DatasetInfo:
    """Describe a set that code draws."""
    return DatasetInfo(
        name=name,
        title=title,
        structure="drawn when asked for, into the outputs' folder drawn; nothing to place",
        splits=dict.fromkeys(drawn_sets.COUNTS, ()),
        counts=drawn_sets.COUNTS,
        licence="public domain: drawn by this program, the photographs in it are those of 'samples'",
        source="metasr/data/drawn_sets.py",
        refusals={"val": "it is a small meta-data set and its test set, no more; validate on 'samples'"},
        drawn=True,
    )


def _hub(name: str, known_hash: str | None) -> tuple[Archive, ...]:
    """Give the archive of the HR images of a test set in the collection of E. Siow on Hugging Face."""
    file = f"{name}_HR.tar.gz"
    return (Archive(f"https://huggingface.co/datasets/eugenesiow/{name}/resolve/main/data/{file}", file, known_hash),)


_ETH = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
_LAPSRN = "http://vllab.ucmerced.edu/wlai24/LapSRN/results/SR_training_datasets.zip"

_SETS = (
    DatasetInfo(
        name="samples",
        title="photographs that come with this package, in the public domain or under CC0",
        structure="embedded; nothing to place",
        splits={"train": (), "val": (), "test": ()},
        counts={"train": 11, "val": 2, "test": 4},
        licence="public domain or CC0, image by image",
        source="see CREDITS.md in metasr/data/samples",
    ),
    DatasetInfo(
        name="image_folder",
        title="a folder of your own images",
        structure="ROOT/**/*.png (or another image format), split by name; or ROOT/train, ROOT/val and ROOT/test",
        licence="yours",
        source="you",
    ),
    _drawn("line_art", "strokes, ellipses and hatching in black on white, drawn by code"),
    _drawn("text", "lines of words in several sizes, dark on light and the reverse, drawn by code"),
    _drawn("aerial", "blocks of shrunk embedded photographs with streets between: fine texture, as from far above"),
    _test_set(
        "set5",
        "Set5",
        5,
        ("Set5",),
        source="Bevilacqua et al., BMVC 2012",
        archives=_hub("Set5", "sha256:260fc447296333f6c2716bcd65513968c33b666f21a905537ee3330c51a1945b"),
    ),
    _test_set(
        "set14",
        "Set14",
        14,
        ("Set14",),
        source="Zeyde et al., Curves and Surfaces 2010",
        archives=_hub("Set14", None),
    ),
    _test_set(
        "b100",
        "B100: 100 images of the Berkeley segmentation data set, 480x320",
        100,
        (
            "B100",
            "BSD100",
            "BSDS100",
            *(f"{a}data/images/val" for a in ("BSDS500/BSR/BSDS500/", "BSR/BSDS500/", "BSDS500/")),
        ),
        source="Martin et al., ICCV 2001; the val split of BSDS500, cropped to its top left 480x320 or 320x480",
        layouts=("BSR/BSDS500/data/images/val/*", "data/images/val/*"),
        licence="non-commercial research and education (Berkeley segmentation data set)",
        archives=_hub("BSD100", None),
        crop=(480, 320),
    ),
    _test_set(
        "urban100",
        "Urban100",
        100,
        ("Urban100",),
        source="Huang et al., CVPR 2015",
        licence="CC BY 4.0, as its distributor on Hugging Face states",
        archives=_hub("Urban100", "md5:65d9d84a34b72c6f7ca1e26a12df1e4c"),
    ),
    _test_set(
        "manga109",
        "Manga109: one page of each of 109 comics",
        109,
        ("Manga109",),
        source="Matsui et al., 2017; ask for it at http://www.manga109.org, which needs a registration",
        licence="academic use, after registration",
    ),
    _test_set(
        "general100",
        "General-100",
        100,
        ("General100", "General-100"),
        source="Dong et al., ECCV 2016 (FSRCNN)",
        layouts=("General100/*", "SR_training_datasets/General100/*"),
        archives=(Archive(_LAPSRN, "SR_training_datasets.zip", members="*General100*"),),
    ),
    DatasetInfo(
        name="div2k",
        title="DIV2K: 800 + 100 photographs of about 2040x1400",
        structure="ROOT/DIV2K/DIV2K_train_HR/*.png and ROOT/DIV2K/DIV2K_valid_HR/*.png",
        folders=("DIV2K",),
        splits={
            "train": ("DIV2K_train_HR/*", "DIV2K_train_HR/DIV2K_train_HR/*", "train/HR/*", "HR/train/*", "train/*"),
            "val": ("DIV2K_valid_HR/*", "DIV2K_valid_HR/DIV2K_valid_HR/*", "valid/HR/*", "HR/val*/*", "val*/*"),
        },
        counts={"train": 800, "val": 100},
        licence="academic research only; the photographs stay their owners'",
        source="Agustsson and Timofte, CVPR workshops 2017",
        archives=(
            Archive(
                f"{_ETH}/DIV2K_train_HR.zip",
                "DIV2K_train_HR.zip",
                "md5:bdc2d9338d4e574fe81bf7d158758658",
                splits=("train",),
            ),
            Archive(
                f"{_ETH}/DIV2K_valid_HR.zip",
                "DIV2K_valid_HR.zip",
                "md5:9fcdda83005c5e5997799b69f955ff88",
                splits=("val",),
            ),
        ),
        refusals={
            "test": "its test images are not public; use split 'val', which published tables call DIV2K validation"
        },
    ),
    DatasetInfo(
        name="flickr2k",
        title="Flickr2K: 2650 photographs of about 2040x1400",
        structure="ROOT/Flickr2K/Flickr2K_HR/*.png",
        folders=("Flickr2K",),
        splits={"train": ("Flickr2K_HR/*", "Flickr2K/Flickr2K_HR/*", "HR/*", "*")},
        counts={"train": 2650},
        licence="research use; the photographs stay their owners'",
        source="Lim et al., CVPR workshops 2017 (EDSR)",
        archives=(
            Archive(
                "https://cv.snu.ac.kr/research/EDSR/Flickr2K.tar",
                "Flickr2K.tar",
                "md5:5d3f39443d5e9489bff8963f8f26cb03",
                members="*Flickr2K_HR/*",
            ),
        ),
        refusals={"val": f"{_NO_VAL}, or validate on div2k"},
    ),
    DatasetInfo(
        name="df2k",
        title="DF2K: DIV2K and Flickr2K together",
        structure="ROOT/DIV2K and ROOT/Flickr2K as for those sets, or DF2K_train_HR and DF2K_valid_HR in ROOT/DF2K",
        folders=("DF2K",),
        splits={"train": ("DF2K_train_HR/*", "DF2K_HR/*"), "val": ("DF2K_valid_HR/*", "DF2K_val_HR/*")},
        counts={"train": 3450, "val": 100},
        licence="as DIV2K and Flickr2K",
        source="see div2k and flickr2k",
        parts=("div2k", "flickr2k"),
        refusals={"test": "it has no test images; use split 'val' (DIV2K validation) or a test set"},
    ),
    DatasetInfo(
        name="bsds500",
        title="BSDS500 without B100: 400 photographs of 481x321",
        structure="ROOT/BSDS500/data/images/{train,test}/*.jpg, or the 400 images in one folder ROOT/bsds400_train",
        folders=("BSDS500", "BSR", "BSDS400_train", "BSDS400"),
        splits={
            "train": (
                "BSR/BSDS500/data/images/train/* + BSR/BSDS500/data/images/test/*",
                "BSDS500/data/images/train/* + BSDS500/data/images/test/*",
                "data/images/train/* + data/images/test/*",
                "images/train/* + images/test/*",
                "train/* + test/*",
                "*",
            )
        },
        counts={"train": 400},
        licence="non-commercial research and education (Berkeley segmentation data set)",
        source="Arbelaez et al., IEEE TPAMI 2011",
        archives=(
            Archive(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
                "BSR_bsds500.tgz",
                "md5:0b17383ff0b21fe43d2f28e624203169",
                members="*/data/images/*",
            ),
        ),
        refusals={"val": _NO_B100, "test": "its test images are part of its training set here; test on b100"},
        apart=_B100,
    ),
    DatasetInfo(
        name="ucmerced",
        title="UC Merced Land Use: 2100 aerial images of 256x256 in 21 classes",
        structure="ROOT/UCMerced_LandUse/Images/CLASS/*.tif; of each class, 50-59 test, 60-69 validate, the rest train",
        folders=("UCMerced_LandUse", "UCMerced"),
        splits={
            split: tuple(f"{prefix}Images/*/*{tens}[0-9].tif" for prefix in ("", "UCMerced_LandUse/"))
            for split, tens in (("train", "[0-47-9]"), ("val", "6"), ("test", "5"))
        },
        counts={"train": 1680, "val": 210, "test": 210},
        licence="public domain (USGS National Map Urban Area Imagery)",
        source="Yang and Newsam, ACM SIGSPATIAL GIS 2010; the split is this project's",
        archives=(
            Archive(
                "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
                "UCMerced_LandUse.zip",
                "md5:5b7ec56793786b6dc8a908e8854ac0e4",
            ),
        ),
    ),
    DatasetInfo(
        name="t91",
        title="T91: 91 small photographs",
        structure="ROOT/T91/*.png",
        folders=("T91", "91-image"),
        splits={"train": ("T91/*", "SR_training_datasets/T91/*", "HR/*", "*")},
        counts={"train": 91},
        source="Yang et al., IEEE TIP 2010",
        archives=(Archive(_LAPSRN, "SR_training_datasets.zip", members="*T91*"),),
        refusals={"val": f"{_NO_VAL}, or validate on 'samples'"},
    ),
)

CATALOG: dict[str, DatasetInfo] = {entry.name: entry for entry in _SETS}
"""Every data set by name."""
