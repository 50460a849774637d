"""Python and the packages, against what the installed distribution says that it needs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from medm_plm.doctor.findings import OK, PROBLEM, WARNING, Finding

DISTRIBUTION = "medm-plm"
ALL_EXTRAS = ("dev", "test")
"""Extras of developers; what they hold is of no use to say that it is missing."""


def check_installation(
    distribution: str = DISTRIBUTION, version_of: Callable[[str], str] = metadata.version
) -> list[Finding]:
    """Check Python and the packages.

    Args:
        distribution (`str`, *optional*): whose requirements are looked at.
        version_of (`Callable`, *optional*): tells the version of an installed package.

    Returns:
        A line for Python, one for each required package that is missing or of a version that does not work,
        one for all that are right, and one for each extra.
    """
    try:
        described = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return [
            Finding(
                "installation",
                WARNING,
                "the package is used without being installed, so the versions it needs are not known",
                "install it: pip install .",
            )
        ]
    lines = metadata.requires(distribution) or []
    return [
        *check_python(described["Requires-Python"], platform.python_version()),
        *check_packages([Requirement(line) for line in lines], version_of),
    ]


def check_python(bounds: str | None, version: str) -> list[Finding]:
    """Check the interpreter.

    Args:
        bounds (`str`, *optional*): versions that work, such as `>=3.11,<3.14`.
        version (`str`): the one that runs.

    Returns:
        One line.
    """
    if bounds is None or SpecifierSet(bounds).contains(version, prereleases=True):
        return [Finding("python", OK, version)]
    return [
        Finding(
            "python", PROBLEM, f"version {version}, expected {bounds}", "make an environment with another"
        )
    ]


def check_packages(requirements: Iterable[Requirement], version_of: Callable[[str], str]) -> list[Finding]:
    """Check the packages.

    Args:
        requirements (`Iterable[Requirement]`): what is needed, also by extras.
        version_of (`Callable`): tells the version of an installed package, or raises `PackageNotFoundError`.

    Returns:
        See `check_installation`.
    """
    always: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        if (extra := _extra_of(requirement)) is None:
            always.append(requirement)
        elif extra not in ALL_EXTRAS:
            extras.setdefault(extra, []).append(requirement)
    findings = _required(always, version_of)
    for extra, members in sorted(extras.items()):
        findings.append(_optional(extra, members, version_of))
    return findings


def _extra_of(requirement: Requirement) -> str | None:
    """Tell which extra asks for a package; a plain marker of the platform is none."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return None
    words = str(marker).replace("'", '"').split('extra == "')
    return words[1].partition('"')[0] if len(words) > 1 else None


def _required(requirements: Iterable[Requirement], version_of: Callable[[str], str]) -> list[Finding]:
    findings, right = [], []
    for requirement in requirements:
        found, fits = _compare(requirement, version_of)
        if found is None:
            message, remedy = "is not installed", f'pip install "{_plain(requirement)}"'
        elif not fits:
            message = f"version {found}, expected {requirement.specifier}"
            remedy = f'pip install "{_plain(requirement)}"'
        else:
            right.append(f"{requirement.name} {found}")
            continue
        findings.append(Finding(requirement.name, PROBLEM, message, remedy))
    if right:
        findings.append(Finding("packages", OK, ", ".join(right)))
    return findings


def _optional(extra: str, members: Iterable[Requirement], version_of: Callable[[str], str]) -> Finding:
    versions: Mapping[str, tuple[str | None, bool]] = {
        _plain(member): _compare(member, version_of) for member in members
    }
    area, remedy = f"extra [{extra}]", f'pip install "{DISTRIBUTION}[{extra}]"'
    missing = [name for name, (found, _) in versions.items() if found is None]
    wrong = [f"{name} (is {found})" for name, (found, fits) in versions.items() if found and not fits]
    if wrong:
        return Finding(area, WARNING, f"of a version that does not work: {', '.join(wrong)}", remedy)
    if missing:
        return Finding(area, OK, f"not installed: {', '.join(missing)}", remedy)
    return Finding(area, OK, "installed")


def _compare(requirement: Requirement, version_of: Callable[[str], str]) -> tuple[str | None, bool]:
    try:
        found = version_of(requirement.name)
    except metadata.PackageNotFoundError:
        return None, False
    try:
        # A local build such as 2.13.0+cpu counts as its release.
        return found, requirement.specifier.contains(Version(found).public, prereleases=True)
    except InvalidVersion:
        return found, False


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"
