"""What each command of the CLI does; `planesplit.cli` says what they are called."""
