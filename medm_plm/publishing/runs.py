"""Publishing what a training script has just finished, where its options ask for it."""

from __future__ import annotations

from medm_plm.publishing.pushing import Publication, publish
from medm_plm.training.arguments import RunArguments


def publish_run(args: RunArguments) -> Publication | None:
    """Publish the finished model of a run, privately, if `--push_to_hub` was given.

    Args:
        args (`RunArguments`): options of the run; on the main process, after the card has been written.

    Returns:
        What was sent; None if nothing was asked for.

    Raises:
        InputError: as `publish`; the model itself is saved by then.
    """
    if args.publish_to is None:
        return None
    return publish(args.run_dir, args.publish_to, revision=args.hub_revision, token=args.hub_token)
