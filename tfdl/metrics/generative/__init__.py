"""How good a generator is: official scores over pictures' features.

Nothing here knows a model. Pictures are uint8 [N, H, W, C]; an extractor turns them
into features; scores are functions of arrays of features:

    extractor = extractors.open_extractor("inception:inception.pth")
    real = extractor.measure(batches_of_pictures)
    fake = extractor.measure(generated_batches)
    frechet.distance(real.moments, fake.moments)

A score says little without its extractor: results carry `extractor.describe()`.
"""
