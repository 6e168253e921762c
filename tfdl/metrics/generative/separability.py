"""Linear separability of a latent space (Karras et al. 2018, section 4.2)."""

import numpy as np

ATTRIBUTE_KEPT = 0.5  # the more confident half of the pictures


def conditional_entropy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Returns H(target | output) in bits of two rows of 0 and 1.

    Args:
        outputs: [N], what a linear classifier says.
        targets: [N], what is so.
    """
    outputs, targets = (np.asarray(x).astype(np.int64) for x in (outputs, targets))
    table = np.zeros([2, 2])
    np.add.at(table, (outputs, targets), 1 / len(targets))
    given = table.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(table > 0, table * np.log2(table / given), 0.0)
    return max(float(-bits.sum()), 0.0)


def score(entropies: np.ndarray) -> float:
    """Returns 2 to the sum of the attributes' conditional entropies."""
    return float(2 ** np.sum(entropies))


def separability(
    latents: np.ndarray, probabilities: np.ndarray, kept: float = ATTRIBUTE_KEPT
) -> dict[str, object]:
    """Returns the score of a latent space, and each attribute's entropy.

    Args:
        latents: [N, D].
        probabilities: [N, A], a classifier's probability that a picture has each
            attribute.
        kept: the share of pictures, the most confident ones of each attribute, that
            are looked at.

    Returns:
        `score`, `entropies` [A] in bits, `accuracies` [A] of the planes. An attribute
        that all pictures share, or none has, is no plane's to find: its entropy is 0.
    """
    from sklearn import svm

    latents = np.asarray(latents, np.float64)
    count = max(int(len(latents) * kept), 1)
    entropies, accuracies = [], []
    for column in np.asarray(probabilities, np.float64).T:
        # Ties keep the order of the pictures.
        order = np.argsort(-np.maximum(column, 1 - column), kind="stable")[:count]
        points, targets = latents[order], (column[order] > 0.5).astype(np.int64)
        if targets.min() == targets.max():
            entropies.append(0.0)
            accuracies.append(1.0)
            continue
        plane = svm.LinearSVC(random_state=0).fit(points, targets)
        outputs = plane.predict(points)
        entropies.append(conditional_entropy(outputs, targets))
        accuracies.append(float((outputs == targets).mean()))
    return {
        "score": score(entropies),
        "entropies": entropies,
        "accuracies": accuracies,
    }
