"""Signatures of heads that answer with parts of the text, in the graph."""

import tensorflow as tf

MAX_ANSWER_LENGTH = 30
MAX_QUERY_LENGTH = 64


def words_and_pieces(module, text):
    """Splits strings [B] at white space and tokenizes every word.

    Returns:
        words [B, (W)] strings, pieces [B, (T)] int32 and, for every piece, the
        index of its word [B, (T)].
    """
    words = tf.strings.split(text)
    pieces = module.tokenizer.tokenize(words.flat_values)
    nested = words.with_flat_values(pieces)
    numbers = tf.ragged.range(words.row_lengths())
    owners = tf.repeat(numbers.flat_values, pieces.row_lengths())
    flat = nested.merge_dims(1, 2)
    return words, flat, flat.with_flat_values(owners)


def answer_signature(module):
    """Maps question, passage strings [B] -> answer, its score and the null score.

    The passage is cut to the model's length; longer ones are read in windows by
    `tfdl predict`.
    """

    def answer(question, passage):
        query = module.tokenizer.tokenize(question)[:, :MAX_QUERY_LENGTH]
        words, pieces, owners = words_and_pieces(module, passage)
        packed, first = _pack(module, query, pieces)
        out = module.model(packed, unpad=True)
        width = tf.shape(packed["token_ids"])[1]
        positions = tf.range(width)[None, :]
        length = tf.reduce_sum(packed["padding_mask"], 1)
        inside = (positions >= first[:, None]) & (positions < length[:, None] - 1)
        low = tf.float32.min / 4
        start = tf.where(inside, out["start_logits"], low)
        end = tf.where(inside, out["end_logits"], low)
        sums = start[:, :, None] + end[:, None, :]
        # Ends from the start on, at most MAX_ANSWER_LENGTH tokens.
        reach = tf.minimum(MAX_ANSWER_LENGTH - 1, width)
        band = tf.linalg.band_part(tf.ones([width, width]), 0, reach)
        sums = tf.where(band > 0, sums, 2 * low)
        best = tf.argmax(tf.reshape(sums, [-1, width * width]), -1, tf.int32)
        begin, finish = best // width, best % width
        owner = owners.to_tensor(default_value=0)
        last = tf.maximum(tf.cast(tf.shape(owner)[1], tf.int32) - 1, 0)

        def word_of(token):
            index = tf.clip_by_value(token - first, 0, last)
            return tf.gather(owner, index, batch_dims=1)

        has_words = pieces.row_lengths() > 0
        owner = tf.pad(owner, [[0, 0], [0, tf.cast(tf.equal(last, 0), tf.int32)]])
        text = _join(words, word_of(begin), word_of(finish))
        return {
            "answer": tf.where(has_words, text, ""),
            "score": tf.reduce_max(sums, axis=[1, 2]),
            "null_score": out["start_logits"][:, 0] + out["end_logits"][:, 0],
            "start_logits": out["start_logits"],
            "end_logits": out["end_logits"],
        }

    return tf.function(answer).get_concrete_function(
        question=tf.TensorSpec([None], tf.string, name="question"),
        passage=tf.TensorSpec([None], tf.string, name="passage"),
    )


def entity_signature(module):
    """Maps text strings [B] -> words and their labels, [B, W], "" where rows end."""

    def entities(text):
        words, pieces, owners = words_and_pieces(module, text)
        pieces = pieces[:, : module.length - 2]
        owners = owners[:, : module.length - 2]
        packed = module.packer(pieces)
        logits = module.model(packed, unpad=True)["logits"]
        # The first piece of a word speaks for it.
        dense = owners.to_tensor(default_value=-1)
        before = tf.pad(dense, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
        is_first = (dense != before) & (dense >= 0)
        count = tf.shape(dense)[1]
        guess = tf.argmax(logits[:, 1 : count + 1], -1)
        names = tf.ragged.boolean_mask(tf.gather(module.labels, guess), is_first)
        width = tf.cast(tf.reduce_max(words.row_lengths()), tf.int32)
        return {
            "words": words.to_tensor(shape=[None, None]),
            "labels": names.to_tensor(shape=[None, None])[:, :width],
        }

    return tf.function(entities).get_concrete_function(
        text=tf.TensorSpec([None], tf.string, name="text")
    )


def choice_signature(module):
    """Maps context, start strings [B] and endings [B, N] -> probabilities [B, N]."""

    def choose(context, start, endings):
        shape = tf.shape(endings)
        rows = tf.repeat(context, shape[1])
        second = tf.strings.join(
            [tf.repeat(start, shape[1]), tf.reshape(endings, [-1])], " "
        )
        packed = module.tokenizer.pack(rows, second, module.length)
        grouped = {
            name: tf.reshape(value, [shape[0], shape[1], tf.shape(value)[1]])
            for name, value in packed.items()
        }
        out = module.model(grouped, first_token_only=True, unpad=True)
        logits = out["logits"]
        return {"choice": tf.argmax(logits, -1), "probabilities": tf.nn.softmax(logits)}

    return tf.function(choose).get_concrete_function(
        context=tf.TensorSpec([None], tf.string, name="context"),
        start=tf.TensorSpec([None], tf.string, name="start"),
        endings=tf.TensorSpec([None, None], tf.string, name="endings"),
    )


def _pack(module, query, pieces):
    """Packs [CLS] query [SEP] passage [SEP]; returns it and where passages start."""
    room = module.length - 3 - tf.cast(query.row_lengths(), tf.int32)
    keep = tf.minimum(tf.cast(pieces.row_lengths(), tf.int32), room)
    positions = tf.ragged.range(pieces.row_lengths())
    limit = tf.repeat(tf.cast(keep, tf.int64), pieces.row_lengths())
    inside = positions.with_flat_values(positions.flat_values < limit)
    packed = module.packer(query, tf.ragged.boolean_mask(pieces, inside))
    return packed, tf.cast(query.row_lengths(), tf.int32) + 2


def _join(words, first, last):
    """Joins words first..last of every row by spaces."""
    numbers = tf.ragged.range(words.row_lengths())
    lengths = words.row_lengths()
    low = tf.repeat(tf.cast(first, tf.int64), lengths)
    high = tf.repeat(tf.cast(last, tf.int64), lengths)
    inside = (numbers.flat_values >= low) & (numbers.flat_values <= high)
    chosen = tf.ragged.boolean_mask(words, numbers.with_flat_values(inside))
    return tf.strings.reduce_join(chosen, axis=1, separator=" ")
