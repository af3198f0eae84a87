"""`python -m origcli`, and so `accelerate launch -m origcli train-unet …`."""

from origcli.cli.app import main

if __name__ == "__main__":
    main()
