"""Pretraining records by an Apache Beam pipeline, for corpora of many machines."""

import shlex

from tfdl.engine import errors


def run(shards, options: str) -> None:
    """Makes every shard in a Beam pipeline and waits for its end.

    The machines of the pipeline have to see the same folders.

    Args:
        shards: `prepare.Shard`s; each is an element.
        options: Beam's own flags, e.g. `--runner=FlinkRunner --flink_master=...`;
            without any, Beam runs here.

    Raises:
        UserError: Beam is not installed, refuses the options, or the pipeline fails.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise errors.UserError(
            "runner=beam needs Apache Beam: pip install 'tfdl[beam]'"
        ) from None
    from tfdl.models.bert.prepare import make_shard

    if not shards:
        return
    try:
        with beam.Pipeline(options=PipelineOptions(shlex.split(options))) as pipeline:
            _ = (
                pipeline
                | "shards" >> beam.Create(shards)
                | "spread" >> beam.Reshuffle()
                | "make" >> beam.Map(make_shard)
            )
    except (SystemExit, Exception) as error:
        # Beam appends where in the pipeline an error came up.
        reason = str(error).split(" [while running")[0] or type(error).__name__
        raise errors.UserError(f"the Beam pipeline failed: {reason}") from None
