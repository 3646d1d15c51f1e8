# Django's MySQL backend imports "MySQLdb". Where that (compiled) driver is not installed, let
# the pure-Python PyMySQL take its place, if it is there.
try:
    import MySQLdb  # noqa: F401
except ImportError:
    try:
        import pymysql
    except ImportError:
        pass
    else:
        pymysql.install_as_MySQLdb()
