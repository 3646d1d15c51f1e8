"""Settings that follow the size of the machine: worker counts, memory of the servers.

Pure functions of cores and memory (MiB). The PostgreSQL rules are those of PGTune
(https://github.com/le0pard/pgtune, its "web application" type) and of the manual's chapter
"Resource Consumption"; the worker count is that of Gunicorn's "Design" page, held within memory.
"""

MIB = 1 << 20
SMALL = 768  # MiB; on a machine with less, a second worker would leave no room for the database
WORKER_MEMORY = 160  # MiB that a worker of an ordinary Django project grows to
APP_SHARE = 50  # percent of memory for web processes beside a database and a cache
APP_SHARE_ALONE = 80
MAXMEMORY_CAP = 512 * MIB
MAXMEMORY_FLOOR = 32 * MIB


def workers(cores, memory, projects, shared):
    """Web workers of one project: 2 × cores + 1, as far as memory allows, at least 2 (1 if small).

    memory: MiB. projects: how many share the host. shared: whether other tiers run on it.
    """
    budget = memory * (APP_SHARE if shared else APP_SHARE_ALONE) // 100 // max(projects, 1)
    return max(1 if memory < SMALL else 2, min(2 * cores + 1, budget // WORKER_MEMORY))


def memory_share(share, shared, low, high, servers=1):
    """
    Percent of memory for a server: the pillar's, else low beside other roles, else high, which so
    many ``servers`` of its kind have between them.
    """
    if share is not None:
        return share
    return (low if shared else high) // servers


def postgresql(cores, memory, max_connections):
    """PostgreSQL's settings for a machine with so much memory (MiB) to reckon with.

    Returns name -> value as postgresql.conf has it (memory with a unit).
    """
    shared_buffers = _clamp(memory // 4, 32, 16384)
    workers = max(cores, 8)
    work_mem_kib = (memory - shared_buffers) * 1024 // ((max_connections + workers) * 3)
    settings = {
        "shared_buffers": f"{shared_buffers}MB",
        "effective_cache_size": f"{max(memory * 3 // 4, 64)}MB",
        "maintenance_work_mem": f"{_clamp(memory // 16, 16, 2048)}MB",
        "work_mem": f"{_clamp(work_mem_kib, 1024, 65536)}kB",
        "wal_buffers": f"{_clamp(shared_buffers * 3 // 100, 1, 16)}MB",
        "min_wal_size": "256MB",
        "max_wal_size": "2GB",
        "checkpoint_completion_target": 0.9,
        "random_page_cost": 1.1,
        "effective_io_concurrency": 200,
    }
    if cores >= 4:
        gather = min(cores // 2, 4)
        settings["max_worker_processes"] = workers
        settings["max_parallel_workers"] = cores
        settings["max_parallel_workers_per_gather"] = gather
        settings["max_parallel_maintenance_workers"] = gather
    return settings


def mariadb(cores, memory):
    """MariaDB's settings for a machine with so many cores and memory (MiB) to reckon with.

    Returns name -> value as the server's file has it. The buffer pool takes most of it, as the
    manual says for a server of InnoDB tables; the rest is for connections.
    """
    pool = _clamp(memory * 60 // 100, 64, 65536)
    table = _clamp(memory // 64, 8, 64)
    return {
        "innodb_buffer_pool_size": f"{pool}M",
        "innodb_log_file_size": f"{_clamp(pool // 4, 48, 2048)}M",
        "innodb_read_io_threads": _clamp(cores, 4, 64),
        "innodb_write_io_threads": _clamp(cores, 4, 64),
        "max_heap_table_size": f"{table}M",
        "tmp_table_size": f"{table}M",
    }


def cache_maxmemory(memory, share, instances, shared):
    """Bytes for one of so many Redis or Memcached servers: its part of the share of memory.

    memory: MiB. share: percent.
    Beside other roles no more than 512 MiB; never less than 32 MiB.
    """
    part = memory * MIB * share // 100 // max(instances, 1)
    if shared:
        part = min(part, MAXMEMORY_CAP)
    return max(part // MIB * MIB, MAXMEMORY_FLOOR)


def request_workers(memory):
    """Requests that Apache works on at a time on a machine with so much memory (MiB).

    A thread of Apache takes little; those of the application behind it are the ones that count.
    """
    return _clamp(memory // 8, 128, 1024)


def _clamp(value, low, high):
    return max(low, min(value, high))
