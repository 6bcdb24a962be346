"""``fastzip completion``: a script that completes verbs, options and files, for one's shell."""

from __future__ import annotations

import argparse
import shlex
from typing import Any, Final, NamedTuple

from fastzip._cli import console

HELP: Final = "print a completion script for bash, zsh or fish"
DESCRIPTION: Final = """\
Print a script that makes the shell complete commands, options and file names. It is made out of
the same description that -h is made of."""
EXAMPLES: Final = """\
examples:
  eval "$(fastzip completion bash)"          in ~/.bashrc
  eval "$(fastzip completion zsh)"           in ~/.zshrc, behind compinit
  fastzip completion fish > ~/.config/fish/completions/fastzip.fish"""


class Option(NamedTuple):
    """One option of a verb."""

    names: tuple[str, ...]
    takes_value: bool
    help: str


class Verb(NamedTuple):
    """What can be completed behind a verb."""

    name: str
    help: str
    options: list[Option]
    choices: list[str]
    """Of its first argument; none: files."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``completion``."""
    parser.add_argument("shell", choices=sorted(_SCRIPTS))


def run(args: argparse.Namespace) -> int:
    """Print."""
    console.write(_SCRIPTS[args.shell](verbs_of(args.make_parser())))
    return 0


def verbs_of(parser: argparse.ArgumentParser) -> list[Verb]:
    """The verbs and options of a parser."""
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    return [_verb(name, helps[name], verb) for name, verb in subparsers.choices.items()]


def _verb(name: str, text: str, parser: argparse.ArgumentParser) -> Verb:
    options, choices = [], []
    for action in parser._actions:
        if action.option_strings:
            help_text = (action.help or "").replace("%(default)s", str(action.default))
            options.append(Option(tuple(action.option_strings), action.nargs != 0, help_text))
        elif action.choices is not None:
            choices = [str(choice) for choice in action.choices]
    return Verb(name, text, options, choices)


# ---- bash ------------------------------------------------------------------------------------


def bash(verbs: list[Verb]) -> str:
    """A function for ``complete -F``."""
    cases = []
    for verb in verbs:
        words = " ".join(name for option in verb.options for name in option.names)
        cases.append(f"        {verb.name}) options={shlex.quote(words)};;\n")
    with_values = {n for v in verbs for o in v.options if o.takes_value for n in o.names}
    choices = "".join(
        f"        {verb.name}) words={shlex.quote(' '.join(verb.choices))};;\n"
        for verb in verbs
        if verb.choices
    )
    return f"""\
# bash completion for fastzip; made by: fastzip completion bash
_fastzip() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    local options='' words=''
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W {shlex.quote(_names(verbs) + " -h --help --version")} -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{"".join(cases)}    esac
    case ${{COMP_WORDS[1]}} in
{choices}    esac
    case $before in
        {"|".join(sorted(with_values))}) ;;
        *)
            if [[ $word == -* ]]; then
                COMPREPLY=($(compgen -W "$options" -- "$word"))
                return
            fi
            ;;
    esac
    if [[ $words ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        return
    fi
    compopt -o filenames 2>/dev/null
    local IFS=$'\\n'
    COMPREPLY=($(compgen -f -- "$word"))
}}
complete -F _fastzip fastzip
"""


def _names(verbs: list[Verb]) -> str:
    return " ".join(verb.name for verb in verbs)


# ---- zsh -------------------------------------------------------------------------------------


def zsh(verbs: list[Verb]) -> str:
    """A function of ``_arguments``."""
    listed = "".join(f"        {shlex.quote(f'{v.name}:{v.help}')}\n" for v in verbs)
    cases = []
    for verb in verbs:
        specs = [spec for option in verb.options for spec in _zsh_specs(option)]
        specs.append(f"*:choice:({' '.join(verb.choices)})" if verb.choices else "*:file:_files")
        body = " \\\n                ".join(shlex.quote(spec) for spec in specs)
        cases.append(f"        {verb.name})\n            _arguments \\\n                {body};;\n")
    return f"""\
#compdef fastzip
# zsh completion for fastzip; made by: fastzip completion zsh
_fastzip() {{
    local -a verbs=(
{listed}    )
    if ((CURRENT == 2)); then
        _describe command verbs
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
{"".join(cases)}    esac
}}
compdef _fastzip fastzip
"""


def _zsh_specs(option: Option) -> list[str]:
    text = option.help.translate({ord("["): "(", ord("]"): ")", ord(":"): ";"})
    value = ":value:_files" if option.takes_value else ""
    return [f"{name}[{text}]{value}" for name in option.names]


# ---- fish ------------------------------------------------------------------------------------


def fish(verbs: list[Verb]) -> str:
    """Lines of ``complete``."""
    lines = ["# fish completion for fastzip; made by: fastzip completion fish"]
    for verb in verbs:
        lines.append(
            f"complete -c fastzip -n __fish_use_subcommand -f -a {verb.name} -d {_fish(verb.help)}"
        )
    for verb in verbs:
        seen = f"-n '__fish_seen_subcommand_from {verb.name}'"
        if verb.choices:
            lines.append(f"complete -c fastzip {seen} -f -a {_fish(' '.join(verb.choices))}")
        for option in verb.options:
            flags = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            value = " -r" if option.takes_value else ""
            lines.append(f"complete -c fastzip {seen} {flags}{value} -d {_fish(option.help)}")
    return "\n".join(lines) + "\n"


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SCRIPTS: Final[dict[str, Any]] = {"bash": bash, "zsh": zsh, "fish": fish}
