"""Tokens and addresses."""

from __future__ import annotations

import os

import pytest

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.loopback import is_loopback
from tramtrack.service.access import VARIABLE, Token, read_token, require_token

SECRET = "0123456789abcdef" * 2


def test_beyond_this_machine_a_token_is_required():
    for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"):
        assert is_loopback(host)
        require_token(host, None)
    for host in ("0.0.0.0", "::", "192.168.0.7", "tramtrack.example", "localhost.example", ""):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="so a token is required"):
            require_token(host, None)
        require_token(host, Token.of(SECRET, "test"))


def test_a_token_is_read_from_a_file_or_the_environment_and_kept_as_a_hash(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert read_token(None) is None
    file = tmp_path / "token"
    with pytest.raises(UsageError, match=r"--token-file .*token: expected a file that holds the token, found none"):
        read_token(file)
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    token = read_token(file)
    assert token.admits(SECRET) and not token.admits(SECRET[:-1]) and not token.admits("") and not token.admits("ä\udcff")
    assert SECRET not in repr(token)
    monkeypatch.setenv(VARIABLE, SECRET)
    with pytest.raises(UsageError, match="received both"):
        read_token(file)
    monkeypatch.setenv(VARIABLE, SECRET)
    assert read_token(None).admits(SECRET)
    assert VARIABLE not in os.environ, "processes that are started would inherit it"
    file.chmod(0o604)
    with pytest.raises(TramtrackError, match="everybody on this machine may open the token"):
        read_token(file)


@pytest.mark.parametrize("text", ["", "short", "a" * 31, "a" * 31 + " b", "a" * 40 + "\n" + "b"])
def test_a_token_that_could_be_guessed_is_refused(text):
    with pytest.raises(UsageError, match="expected a token of 32 or more"):
        Token.of(text, "here")
