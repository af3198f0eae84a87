"""Completion scripts: each shell asks `origcli` itself at every TAB."""

from typer.completion import get_completion_script  # type: ignore[attr-defined]

PROGRAM = "origcli"
VARIABLE = "_ORIGCLI_COMPLETE"

# File names are what each shell looks for in its own directory.
FILES = {"bash": "origcli.bash", "zsh": "_origcli", "fish": "origcli.fish", "powershell": "origcli.ps1"}

_ZSH_REGISTER = "compdef _origcli_completion origcli"
# The first TAB runs the file itself, as a function: then it has to complete, not only to register.
_ZSH_FIRST_TAB = f"""if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _origcli_completion "$@"
else
  {_ZSH_REGISTER}
fi"""


def completion_scripts() -> dict[str, str]:
    """File name -> script."""
    return {file: _script(shell) for shell, file in FILES.items()}


def _script(shell: str) -> str:
    script = get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell)
    if shell == "zsh":
        assert script.count(_ZSH_REGISTER) == 1
        script = script.replace(_ZSH_REGISTER, _ZSH_FIRST_TAB)
    return f"{script}\n"
