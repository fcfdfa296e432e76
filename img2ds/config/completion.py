"""Completion scripts for shells, made from the flags: `img2ds completion bash`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from img2ds.config.flags import Flags
from img2ds.config.help import HELP
from img2ds.core.failure import UsageError

SHELLS = ("bash", "zsh", "fish")
#: What the help pages say of it.
SUMMARY = "print a script that completes commands, flags and values in bash, zsh or fish"

_HELP = """\
{program} completion: {summary}

  eval "$({program} completion bash)"       # in ~/.bashrc
  eval "$({program} completion zsh)"        # in ~/.zshrc, after compinit
  {program} completion fish | source        # in ~/.config/fish/config.fish"""

_BASH = """\
# {program}: eval "$({program} completion bash)", or a file in a folder of bash-completion
_{program}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} flags
    case ${{COMP_WORDS[1]}} in
{flags}
    esac
    case $prev in
{choices}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    elif [[ $COMP_CWORD == 1 ]]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$cur") $(compgen -f -- "$cur"))
    else
        COMPREPLY=($(compgen -f -- "$cur"))
    fi
}}
complete -o filenames -F _{program} {program}
"""
_ZSH = """\
# {program}: eval "$({program} completion zsh)"
autoload -U +X bashcompinit && bashcompinit
"""


def run(program: str, commands: Mapping[str, Flags], arguments: Sequence[str]) -> str:
    """Return the script for the shell that `arguments` name, or how to use it.

    Args:
        commands: the flags of each command; those of the program without a command under "".

    Raises:
        UsageError: it is another shell.
    """
    if any(argument in HELP for argument in arguments):
        return _HELP.format(program=program, summary=SUMMARY)
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise UsageError(f"{program} completion takes a shell: {', '.join(SHELLS)}")
    shell = arguments[0]
    if shell == "fish":
        return _fish(program, commands)
    bash = _bash(program, commands)
    return bash if shell == "bash" else _ZSH.format(program=program) + bash


def _bash(program: str, commands: Mapping[str, Flags]) -> str:
    names = [*filter(None, commands), "completion"]
    flags = [
        f'        {name or "*"}) flags="{_flags(of)}" ;;'
        for name, of in sorted(commands.items(), key=lambda item: not item[0])
    ]
    choices: dict[str, dict[str, None]] = {}  # those of all commands that have the flag
    for of in commands.values():
        for flag, spec in of.fields.items():
            if spec.metadata["choices"]:
                choices.setdefault(flag, {}).update(dict.fromkeys(spec.metadata["choices"]))
    cases = [
        f'        --{flag}) COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur")); return ;;'
        for flag, words in choices.items()
    ]
    return _BASH.format(
        program=program, flags="\n".join(flags), choices="\n".join(cases), commands=" ".join(names)
    )


def _fish(program: str, commands: Mapping[str, Flags]) -> str:
    names = " ".join([*filter(None, commands), "completion"])
    lines = [f"# {program}: {program} completion fish | source"]
    lines.append(f"complete -c {program} -n __fish_use_subcommand -a '{names}'")
    for name, of in commands.items():
        when = f"__fish_seen_subcommand_from {name}" if name else "__fish_use_subcommand"
        for flag, spec in of.fields.items():
            text = spec.metadata["help"].replace("\\", "").replace("'", "")
            words = " ".join(spec.metadata["choices"])
            values = f" -x -a '{words}'" if words else " -r"
            lines.append(f"complete -c {program} -n '{when}' -l {flag} -d '{text}'{values}")
    return "\n".join([*lines, ""])


def _flags(of: Flags) -> str:
    return " ".join(f"--{name}" for name in (*of.fields, *of.aliases, "help"))
