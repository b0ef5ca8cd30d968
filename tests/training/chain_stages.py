"""The folders of the stage chain that tests run."""

FIRST, SECOND = "01_pretrain", "02_meta_transfer"
