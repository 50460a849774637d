"""Publish a saved model on the Hugging Face Hub, privately unless asked twice.

    python run_publishing.py --model pretrained --repository hospital/medm-plm --dry_run
    python run_publishing.py --model pretrained --repository hospital/medm-plm
    python run_publishing.py --model out --repository lab/medm-plm --public --confirm_public lab/medm-plm

Only files from a list are sent: configuration, weights, tokenizers, code, card. Each is looked through for
tokens, places of this machine and pickles first, and the list is printed with bytes before anything is
sent; `--dry_run` stops there. An existing public repository gets nothing unless `--public` is given.
`--public` needs a card (`README.md`) whose header names the data, and the name of the repository once more.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from medm_plm.command_line import parse_arguments, run_main
from medm_plm.publishing import publish


@dataclass
class PublishingArguments:
    """What is published where.

    Args:
        model (`str`): folder of a saved model with its card.
        repository (`str`): `OWNER/NAME` on the Hub.
        dry_run (`bool`, defaults to False): print what would be sent, and send nothing.
        public (`bool`, defaults to False): let everybody see the repository.
        confirm_public (`str`, *optional*): the name of the repository once more.
        revision (`str`, *optional*): branch; the main one by default.
    """

    model: str = field(metadata={"help": "folder of a saved model with its card"})
    repository: str = field(metadata={"help": "OWNER/NAME on the Hub"})
    dry_run: bool = field(default=False, metadata={"help": "print what would be sent, and send nothing"})
    public: bool = field(default=False, metadata={"help": "let everybody see the repository"})
    confirm_public: str | None = field(
        default=None, metadata={"help": "the name of the repository once more, needed with --public"}
    )
    revision: str | None = field(default=None, metadata={"help": "branch, the main one by default"})


def main(argv: Sequence[str] | None = None) -> None:
    """Look through the folder, print the list, send.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line; those of the process by default. The
            folder and the repository may stand first, without their options' names.
    """
    words = _named(sys.argv[1:] if argv is None else list(argv))
    (options,) = parse_arguments(PublishingArguments, argv=words, description=__doc__)
    published = publish(
        options.model,
        options.repository,
        public=options.public,
        confirm_public=options.confirm_public,
        dry_run=options.dry_run,
        revision=options.revision,
    )
    if published.commit is None:
        print("\nnothing was sent (--dry_run)")
        return
    kind = "public" if published.is_public else "private"
    print(f"\npublished in {published.repo_id} ({kind}), commit {published.commit}")
    if published.other_files:
        print(f"the repository also holds {', '.join(published.other_files)}, which this command never sends")


def _named(words: list[str]) -> list[str]:
    """Give the two first words their names, if they stand without."""
    given = [word for word in words[:2] if not word.startswith("-")]
    if len(given) < 2:
        return words
    return ["--model", given[0], "--repository", given[1], *words[2:]]


if __name__ == "__main__":
    run_main(main)
