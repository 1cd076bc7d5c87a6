"""Lets `python -m cabrank.cli …` be the command `cabrank …`; `cabrank up` starts its children so."""

from __future__ import annotations

from cabrank.cli.main import main

if __name__ == "__main__":
    main()
