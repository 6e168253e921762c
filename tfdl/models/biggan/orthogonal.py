"""Orthogonal regularisation: filters of a layer are kept from looking alike.

`R(W) = strength |W^T W * (1 - I)|^2` of the raw weights, a column per filter (section
3.1, equation 3). BigGAN-PyTorch adds `2 W (W^T W * (1 - I))` to the gradient, which is
half of R's exact gradient: the form `grad2`; `exact` is R's own. Gradients change
after the backward pass and before the optimizer, once per step.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfdl.engine import errors

FORMS = {"grad2": 2.0, "exact": 4.0}


def check(form: str) -> str:
    """Returns a form, or raises `UserError`."""
    if form not in FORMS:
        raise errors.unknown("orthogonal_form", form, FORMS)
    return form


def penalty(
    weight: tf.Tensor, strength: float, full: bool = False, rows: bool = False
) -> tf.Tensor:
    """Returns R of one weight; see `increment`."""
    _, product = _matrices(weight, full, rows)
    return strength * tf.reduce_sum(tf.square(product))


def increment(
    weight: tf.Tensor,
    strength: float,
    form: str = "grad2",
    full: bool = False,
    rows: bool = False,
) -> tf.Tensor:
    """Returns what is added to a weight's gradient.

    Args:
        weight: a kernel [H, W, I, O] or [I, O], rank 2 or more.
        strength: beta.
        form: `"grad2"` or `"exact"`.
        full: hold `W^T W - I` against zero, so that filters also keep length 1.
        rows: the filters are the rows: of a table [classes, C].
    """
    matrix, product = _matrices(weight, full, rows)
    change = tf.linalg.matmul(matrix, product)
    if rows:
        change = tf.transpose(change)
    return FORMS[check(form)] * strength * tf.reshape(change, tf.shape(weight))


def add(
    gradients: Sequence[tf.Tensor],
    variables: Mapping[str, tf.Variable],
    strength: float,
    form: str = "grad2",
    *,
    blacklist: Sequence[str] = (),
    tables: Sequence[str] = (),
    replicas: int = 1,
) -> list[tf.Tensor]:
    """Returns a network's gradients with the increments added.

    Args:
        gradients: this replica's shares, in the variables' order.
        variables: name -> variable.
        strength: beta; 0 changes nothing.
        form: see `increment`.
        blacklist: names that are left alone.
        tables: names of tables, whose rows are the filters.
        replicas: among how many replicas the increment is shared.
    """
    check(form)
    if not strength:
        return list(gradients)
    result = []
    for gradient, (name, variable) in zip(gradients, variables.items(), strict=True):
        if gradient is not None and len(variable.shape) >= 2 and name not in blacklist:
            value = tf.convert_to_tensor(variable)
            change = increment(value, strength / replicas, form, rows=name in tables)
            gradient = tf.convert_to_tensor(gradient) + change
        result.append(gradient)
    return result


def _matrices(weight, full: bool, rows: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the filters as columns [rest, filters], and their products."""
    if rows:
        matrix = tf.transpose(tf.reshape(weight, [tf.shape(weight)[0], -1]))
    else:
        matrix = tf.reshape(weight, [-1, tf.shape(weight)[-1]])
    product = tf.linalg.matmul(matrix, matrix, transpose_a=True)
    if full:
        return matrix, product - tf.eye(tf.shape(product)[0], dtype=product.dtype)
    return matrix, tf.linalg.set_diag(product, tf.zeros_like(product[0]))
