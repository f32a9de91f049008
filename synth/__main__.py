"""python -m synth; see `synth.commands`. A worker process imports this file anew, so there is nothing else in it."""

if __name__ == "__main__":
    from shards.console import main
    from synth.commands import cli

    main(cli)
