# SPDX-License-Identifier: Apache-2.0
"""Redis and Mosquitto: pipelines, large values, subscriptions that wait, messages that are kept."""
import hashlib
import subprocess

import pytest

from mesh import wait_until
from world import missing


@pytest.fixture(scope="module")
def redis(world):
    reason = missing("redis-server", "redis-cli", "redis-benchmark")
    if reason:
        pytest.skip(reason)
    host = world.network["server"].ipv4
    world.start("server", "redis", 6379, "redis-server", "--bind", host, "--port", "6379", "--protected-mode", "no", "--save", "",
                "--dir", world.folder)
    return ["-h", host]


def test_redis_pipelines_lose_no_command(world, redis):
    num = 50_000
    commands = b"".join(b"SET key:%d %d\r\n" % (i, i * i) for i in range(num))

    def work():
        world.run("client", "redis-cli", *redis, "flushall")
        text = world.run("client", "redis-cli", *redis, "--pipe", input=commands, text=False).stdout.decode()
        assert f"errors: 0, replies: {num}" in text, text
        some = [world.run("client", "redis-cli", *redis, "get", f"key:{i}").stdout for i in (0, num // 2, num - 1)]
        return world.run("client", "redis-cli", *redis, "dbsize").stdout, some
    world.same("redis", work)


def test_redis_benchmark_and_a_large_value(world, redis):
    value = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(200_000))

    def work():
        for flags in (["-c", "50", "-n", "20000", "-P", "16"], ["-c", "20", "-n", "2000", "-k", "0", "-t", "set"]):
            assert "requests per second" in world.run("client", "redis-benchmark", *redis, *flags, "-t", "set,get,lrange_100", "-q").stdout
        assert world.run("client", "redis-cli", *redis, "-x", "set", "large", input=value, text=False).stdout == b"OK\n"
        got = world.run("client", "redis-cli", *redis, "--raw", "get", "large", text=False).stdout
        assert got == value + b"\n"
    world.watch("redis", work)


@pytest.fixture(scope="module")
def mosquitto(world):
    reason = missing("mosquitto", "mosquitto_pub", "mosquitto_sub")
    if reason:
        pytest.skip(reason)
    host, config = world.network["server"].ipv4, world.folder / "mosquitto.conf"
    config.write_text(f"listener 1883 {host}\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n")
    world.start("server", "mosquitto", 1883, "mosquitto", "-c", config)
    return ["-h", host]


def test_mosquitto_delivers_every_message_and_keeps_one(world, mosquitto):
    num = 3000
    lines = [f"{i}-{'x' * (i % 300)}" for i in range(num)]

    def work():
        world.run("client", "mosquitto_pub", *mosquitto, "-t", "kept", "-r", "-q", "1", "-m", "for later")
        subscribe = ["mosquitto_sub", *mosquitto, "-t", "news", "-t", "kept", "-q", "1", "-C", str(num + 1)]
        with subprocess.Popen(world.network["client"].command(subscribe), stdout=subprocess.PIPE, text=True) as subscriber:
            assert subscriber.stdout.readline() == "for later\n"  # so the subscriptions stand
            world.run("client", "mosquitto_pub", *mosquitto, "-t", "news", "-q", "1", "-l", input="\n".join(lines) + "\n")
            got = subscriber.communicate(timeout=60)[0].splitlines()
        assert got == lines
        return subscriber.returncode
    assert world.same("mosquitto", work) == 0


def test_mosquitto_subscriber_that_waits_over_many_rotations_hears_what_comes(world, mosquitto):
    def work():
        with subprocess.Popen(world.network["client"].command(["mosquitto_sub", *mosquitto, "-t", "late", "-C", "1", "-k", "5"]),
                              stdout=subprocess.PIPE, text=True) as subscriber:
            before = world.num_rotations
            wait_until("identities were rotated", lambda: world.num_rotations >= before + 4, 20)
            world.run("client", "mosquitto_pub", *mosquitto, "-t", "late", "-m", "at last")
            assert subscriber.communicate(timeout=20)[0] == "at last\n"
    world.watch("mosquitto", work)
