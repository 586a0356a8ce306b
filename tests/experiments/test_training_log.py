from qdt_rl.experiments.training_log import training_logger


def record(logger, step, loss):
    for name, value in (("train/loss", loss), ("time/updates_per_second", 3.14159), ("a", step / 2)):
        logger.record(name, value)
    logger.dump(step)


def test_each_entry_is_a_line_and_a_row(tmp_path, capsys):
    logger = training_logger(tmp_path / "agent.csv")
    assert list(tmp_path.iterdir()) == [], "nothing to write yet"
    record(logger, 1, 0.123456)
    one_row = "a,time/updates_per_second,train/loss\n0.5,3.14159,0.123456\n"
    assert (tmp_path / "agent.csv").read_text() == one_row
    record(logger, 2000, 7.0)
    logger.close()
    assert (tmp_path / "agent.csv").read_text() == f"{one_row}1000.0,3.14159,7.0\n"
    assert capsys.readouterr().out == (
        "update 1: loss 0.1235, 3.14 updates per second\nupdate 2,000: loss 7.0000, 3.14 updates per second\n"
    )
