"""python -m generative; see `generative.cli`. A worker process imports this file anew, so there is nothing else in it."""

if __name__ == "__main__":
    from generative.cli import cli
    from shards.console import main

    main(cli)
