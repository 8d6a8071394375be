"""--mode=check_data on the terminal."""

from tal_jax.data.check import check_dataset


def print_problems(config):
    """Prints what is wrong with the config's data set, a line each; returns the exit code, 1 if something is."""
    lines = check_dataset(config)
    problems = [line for line in lines if not line.startswith("Note:")]
    for line in lines:
        print(line)
    print(f"{len(problems)} problem(s) found." if problems else "No problem found.")
    return 1 if problems else 0
