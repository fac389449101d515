"""``vsw tag push | pop | translate``: a capture written again with other 802.1Q tags."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vsw.cli.ending import complain, ends_well
from vsw.cli.progress import progress
from vsw.errors import UsageError

if TYPE_CHECKING:
    from vsw.capture.rewrite import Rewritten
    from vsw.datapath.retag import Retag

SOURCE_HELP = "A capture: pcap or pcapng, also compressed with gzip or zstd; - is standard input."
TARGET_HELP = "The capture to write, in the same format; - is standard output."
STRICT_HELP = "A capture that can't be read to its end is an error (exit code 1, nothing is written), or a warning."
JSON_HELP = "One JSON object about what was done; on standard error where the capture goes to standard output."
PCP_HELP = "Priority, 0 to 7."
DEI_HELP = "Drop eligible indicator, 0 or 1."
TPID_HELP = "Tag protocol identifier: 0x8100 (customer), 0x88a8 (service) or 0x9100 (old service)."
LEFT = {
    "untagged": "have no tag",
    "other_vid": "have another VID",
    "malformed": "are shorter than the header that they announce",
    "cut_by_capture": "have their header cut by the capture",
}
WORDS = {"push": "tagged", "pop": "untagged", "translate": "translated"}

Source = Annotated[str, typer.Argument(metavar="IN", help=SOURCE_HELP, show_default=False)]
Target = Annotated[str, typer.Argument(metavar="OUT", help=TARGET_HELP, show_default=False)]
Strict = Annotated[bool, typer.Option("--strict/--tolerant", help=STRICT_HELP)]
Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]

tag = typer.Typer(
    name="tag", no_args_is_help=True, rich_markup_mode=None, help="Push, pop or translate 802.1Q tags in a capture, file to file.",
    epilog="What the tag does not concern stays: times, interfaces, comments, other blocks, checksums.",
)  # fmt: skip


@tag.command()
@ends_well
def push(
    source: Source,
    target: Target,
    vid: Annotated[int, typer.Option(min=0, max=4095, help="The VLAN.", show_default=False)],
    pcp: Annotated[int, typer.Option(min=0, max=7, help=PCP_HELP)] = 0,
    dei: Annotated[int, typer.Option(min=0, max=1, help=DEI_HELP)] = 0,
    tpid: Annotated[str, typer.Option(help=TPID_HELP)] = "0x8100",
    strict: Strict = True,
    as_json: Json = False,
) -> int:
    """Put a tag in front of all others.

    \b
    Examples:
      vsw tag push --vid 10 in.pcap out.pcap
      vsw tag push --vid 100 --tpid 0x88a8 --pcp 3 in.pcapng out.pcapng
    """
    from vsw.datapath.retag import Retag  # noqa: PLC0415

    return _write(source, target, Retag.push(vid, pcp, dei, parse_tpid(tpid)), strict, as_json)


@tag.command()
@ends_well
def pop(
    source: Source,
    target: Target,
    vid: Annotated[list[int] | None, typer.Option(min=0, max=4095, help="Only tags with this VID.  Repeatable.", show_default="any")] = None,
    pad: Annotated[bool, typer.Option("--pad", help="Pad frames that get shorter than 60 bytes, if they were captured whole.")] = False,
    strict: Strict = True,
    as_json: Json = False,
) -> int:
    """Take the outermost tag off; frames without one are copied as they are.

    \b
    Examples:
      vsw tag pop in.pcap out.pcap
      vsw tag pop --vid 10 --pad in.pcapng out.pcapng
    """
    from vsw.datapath.retag import Retag  # noqa: PLC0415

    return _write(source, target, Retag.pop(vid or None, pad), strict, as_json)


@tag.command()
@ends_well
def translate(
    source: Source,
    target: Target,
    vid: Annotated[list[str] | None, typer.Option(metavar="OLD:NEW", help="This VID becomes that.  Repeatable.", show_default="any, kept")] = None,
    pcp: Annotated[int | None, typer.Option(min=0, max=7, help=PCP_HELP, show_default="kept")] = None,
    dei: Annotated[int | None, typer.Option(min=0, max=1, help=DEI_HELP, show_default="kept")] = None,
    tpid: Annotated[str | None, typer.Option(help=TPID_HELP, show_default="kept")] = None,
    strict: Strict = True,
    as_json: Json = False,
) -> int:
    """Rewrite the outermost tag: VID, priority, TPID.  With --vid only tags with one of the old VIDs.

    \b
    Examples:
      vsw tag translate --vid 10:110 --vid 20:120 in.pcap out.pcap
      vsw tag translate --pcp 0 --tpid 0x8100 in.pcapng out.pcapng
    """
    from vsw.datapath.retag import Retag  # noqa: PLC0415

    vids = dict(parse_pair(text) for text in vid) if vid else None
    if vid and vids is not None and len(vids) < len(vid):
        raise UsageError("--vid: a VID can become one other only, and one is named twice")
    return _write(source, target, Retag.translate(vids, pcp, dei, None if tpid is None else parse_tpid(tpid)), strict, as_json)


def parse_pair(text: str) -> tuple[int, int]:
    """``10:20``."""
    old, colon, new = text.partition(":")
    if not colon or not old.isdecimal() or not new.isdecimal() or max(int(old), int(new)) > 4095:
        raise UsageError(f"--vid is OLD:NEW, two VIDs from 0 to 4095, for instance 10:20 (found {text!r})")
    return int(old), int(new)


def parse_tpid(text: str) -> int:
    """``0x88a8``, also without the ``0x``."""
    try:
        return int(text, 16)
    except ValueError:
        raise UsageError(f"--tpid is 0x8100, 0x88a8 or 0x9100 (found {text!r})") from None


def _write(source: str, target: str, rule: Retag, strict: bool, as_json: bool) -> int:
    from vsw.capture import open_capture  # noqa: PLC0415
    from vsw.capture.rewrite import rewrite  # noqa: PLC0415

    with open_capture(source, strict=strict) as capture, progress("Writing", capture.size) as step:
        done = rewrite(capture, target, rule, progress=step)
        problem = capture.problem
    if as_json:
        text = json.dumps(as_object(done, [] if problem is None else [str(problem)]), ensure_ascii=False)
    else:
        text = "\n".join(_sentences(done, rule.kind, target))
    print(text, file=sys.stderr if target == "-" else sys.stdout)
    if problem is not None:
        complain(problem, "Warning")
    return 0


def as_object(done: Rewritten, problems: list[str]) -> dict[str, Any]:
    """What ``--json`` prints.

    ``frames``, ``changed``, ``left`` {reason: frames left as they are}, ``padded``, ``shortened``, ``check_sequences``, ``problems`` [sentence].
    """
    left = {name: count for name, count in done.outcomes.items() if name != "changed" and count}
    return {
        "frames": done.frames,
        "changed": done.outcomes["changed"],
        "left": left,
        "padded": done.padded,
        "shortened": done.shortened,
        "check_sequences": done.check_sequences,
        "problems": problems,
    }


def _sentences(done: Rewritten, kind: str, target: str) -> list[str]:
    lines = [f"{target}: {done.frames:,} frames, {done.outcomes['changed']:,} {WORDS[kind]}"]
    lines += [f"{done.outcomes[name]:,} {sentence}: copied as they are" for name, sentence in LEFT.items() if done.outcomes[name]]
    if done.padded:
        lines.append(f"{done.padded:,} padded to 60 bytes")
    if done.shortened:
        lines.append(f"{done.shortened:,} lost captured bytes: no reader takes a record of more than 262,144")
    if done.check_sequences:
        lines.append(f"{done.check_sequences:,} frame check sequences made anew")
    return lines
