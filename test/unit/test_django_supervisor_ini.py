"""Configuration files of supervisord: where it listens, what is hidden, how they are written."""

import django_supervisor_ini
import pytest


class TestSettings:
    def parse(self, text):
        return django_supervisor_ini.settings_from(
            django_supervisor_ini.parse(text), "/etc/sv/supervisord.conf"
        )

    def test_unix_socket(self):
        found = self.parse(
            "[unix_http_server]\nfile = %(here)s/run/s.sock ; the socket\n"
            "username = a\npassword = b\n"
            "[include]\nfiles = conf.d/*.conf /srv/*.ini\n"
        )
        assert found.url == "unix:///etc/sv/run/s.sock"
        assert (found.username, found.password) == ("a", "b")
        assert found.include == ("/etc/sv/conf.d/*.conf", "/srv/*.ini")
        assert found.program_path("web") == "/etc/sv/conf.d/web.conf"

    def test_include_and_program_name_do_not_break_parsing(self):
        found = self.parse(
            "[unix_http_server]\nfile=/run/s.sock\n[program:x]\ncommand=/x %(program_name)s\n"
            "stdout_logfile=/var/log/%(program_name)s.log\n[include]\nfiles=*.ini\n"
        )
        assert found.program_path("web") == "/etc/sv/web.ini"

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("[supervisorctl]\nserverurl = unix:///run/x.sock\n", "unix:///run/x.sock"),
            ("[inet_http_server]\nport = *:9001\n", "http://127.0.0.1:9001"),
            ("[inet_http_server]\nport = 10.0.0.1:9001\n", "http://10.0.0.1:9001"),
            ("[inet_http_server]\nport = 9001\n", "http://127.0.0.1:9001"),
            ("[supervisord]\n", "unix:///run/supervisor.sock"),
        ],
    )
    def test_address(self, text, url):
        assert self.parse(text).url == url

    def test_hashed_password(self):
        found = self.parse(
            "[unix_http_server]\nfile=/s\nusername=a\npassword={SHA}x\n"
            "[supervisorctl]\nusername=a\npassword=plain\n"
        )
        assert found.password == "plain"

    def test_no_include(self):
        with pytest.raises(django_supervisor_ini.SupervisorError, match=r"includes no folder"):
            self.parse("[supervisord]\n").program_path("web")

    def test_virtual_environment(self, tmp_path):
        config = tmp_path / "etc" / "supervisord.conf"
        config.parent.mkdir()
        config.write_text("[supervisord]\n")
        control = tmp_path / "bin" / "supervisorctl"
        assert django_supervisor_ini.find_config(bin_env=str(tmp_path)) == str(config)
        assert django_supervisor_ini.find_config(bin_env=str(control)) == str(config)
        assert django_supervisor_ini.find_config("/x", str(tmp_path)) == "/x"

    def test_not_a_configuration(self):
        with pytest.raises(
            django_supervisor_ini.SupervisorError, match="not a supervisord configuration"
        ):
            django_supervisor_ini.parse("garbage")


def test_values_are_hidden():
    text = django_supervisor_ini.redact("user=shop password=s3cr%t! pin=12", ("s3cr%t!", "12"))
    assert text == f"user=shop password={django_supervisor_ini.HIDDEN} pin=12"


class TestWriting:
    def test_written_in_one_step(self, tmp_path):
        path = tmp_path / "conf.d" / "web.conf"
        django_supervisor_ini.write_file(str(path), "one", 0o600)
        django_supervisor_ini.write_file(str(path), "two", 0o644)
        assert path.read_text() == "two"
        assert path.stat().st_mode & 0o777 == 0o644
        assert list(path.parent.iterdir()) == [path]

    def test_cannot_write(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(django_supervisor_ini.SupervisorError, match="Cannot write"):
            django_supervisor_ini.write_file(f"{tmp_path}/file/web.conf", "x", 0o644)
