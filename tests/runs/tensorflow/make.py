"""Makes the checkpoints of this folder; needs TensorFlow, which nothing else here does.

    python tests/runs/tensorflow/make.py tests/runs/tensorflow

Written by TensorFlow 2.21. Random numbers under the names of MZSR's variables, two channels and two layers;
``tiny_full`` holds what ``tf.train.Saver`` keeps of its training too. ``tiny.npz`` has an image and what TensorFlow's
own convolutions make of it.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import tensorflow as tf

WIDTHS = (3, 2, 3)


def make(folder: Path, name: str, *, whole: bool) -> None:
    tf.compat.v1.reset_default_graph()
    random = np.random.default_rng(5)
    variables = []
    with tf.compat.v1.variable_scope("MODEL"):
        for i, (inputs, outputs) in enumerate(pairwise(WIDTHS), start=1):
            for part, shape in (("kernel", (3, 3, inputs, outputs)), ("bias", (outputs,))):
                values = random.normal(size=shape).astype("f4") / 10
                variables.append(tf.compat.v1.get_variable(f"conv{i}/{part}", initializer=values))
    image = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
    hidden = tf.nn.relu(tf.nn.conv2d(image, variables[0], [1, 1, 1, 1], "SAME") + variables[1])
    output = image + tf.nn.conv2d(hidden, variables[2], [1, 1, 1, 1], "SAME") + variables[3]
    if whole:
        tf.compat.v1.Variable(7, name="global_step", trainable=False)
        tf.compat.v1.Variable(True, name="stop_grad", trainable=False)
        for _ in range(2):
            tf.compat.v1.train.AdamOptimizer(1e-3).minimize(tf.reduce_mean(tf.abs(output)))
    saver = tf.compat.v1.train.Saver(var_list=None if whole else variables)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)
        if not whole:
            pixels = np.random.default_rng(6).random((1, 9, 8, 3)).astype("f4")
            made = session.run(output, {image: pixels})
            np.savez(folder / "tiny.npz", image=pixels, output=made)


if __name__ == "__main__":
    tf.compat.v1.disable_eager_execution()
    for name, whole in (("tiny", False), ("tiny_full", True)):
        make(Path(sys.argv[1]), name, whole=whole)
