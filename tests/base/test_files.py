def test_content_in_pieces_is_written_whole_or_not_at_all(tmp_path):
    def broken():
        yield b"half"
        raise ValueError

    files.write(tmp_path / "file", iter([b"one ", b"two"]))
    with pytest.raises(ValueError, match="^$"):
        files.write(tmp_path / "file", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"one two"
