from benchmarks.serving.results import describe_run


def test_what_is_kept_names_no_folder_of_the_machine() -> None:
    about = describe_run(["--json", "/home/ann/found.json", "--images", "256"], [], {}, module="benchmarks.serve")

    assert about["command"] == "python -m benchmarks.serve --json found.json --images 256"
