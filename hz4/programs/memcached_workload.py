"""Clients of a memcached on a loopback port; prints what does not vary from run to run."""

import hashlib
import random
import socket
import sys
import threading

CLIENTS, KEYS, ROUNDS = 8, 150, 2500


class Client:
    """The text protocol on one connection."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port)).makefile("rwb")

    def line(self):
        self.stream.flush()
        return self.stream.readline().strip().decode()

    def ask(self, command):
        self.stream.write(f"{command}\r\n".encode())
        return self.line()

    def store(self, verb, key, data):
        self.stream.write(f"{verb} {key} 0 0 {len(data)}\r\n".encode() + data + b"\r\n")
        return self.line()

    def fetch(self, keys):
        self.stream.write(f"get {' '.join(keys)}\r\n".encode())
        found = {}
        while (answer := self.line()) != "END":
            _, key, _, length = answer.split()
            found[key] = self.stream.read(int(length))
            self.stream.readline()
        return found


def churn(port, number, results):
    """Changes keys that only this client uses, and compares what the server says with a dict."""
    client, draw, expected = Client(port), random.Random(number), {}
    digest = hashlib.sha256()
    for step in range(ROUNDS):
        key = f"client{number}-key{draw.randrange(KEYS)}"
        action = draw.randrange(10)
        if action < 5:
            size = draw.choice((10, 100, 1000, 20000, 500000 if step % 20 == 0 else 3000))
            expected[key] = (b"%d," % step) * (size // 5)
            assert client.store("set", key, expected[key]) == "STORED"
        elif action < 7 and len(expected.get(key, b"" * 9)) < 100000:
            answer = client.store("append", key, b"more" * 50)
            assert answer == ("STORED" if key in expected else "NOT_STORED"), answer
            if key in expected:
                expected[key] += b"more" * 50
        elif action < 8:
            assert client.ask(f"delete {key}") == ("DELETED" if expected.pop(key, None) is not None else "NOT_FOUND")
        else:
            keys = [f"client{number}-key{draw.randrange(KEYS)}" for _ in range(5)]
            found = client.fetch(sorted(set(keys)))
            assert found == {k: expected[k] for k in keys if k in expected}
            digest.update(b"".join(found.values()))
    assert client.fetch(sorted(expected)) == expected
    results[number] = f"{len(expected)} keys, {digest.hexdigest()[:16]}"


def main():
    port = int(sys.argv[1])
    results = {}
    threads = [threading.Thread(target=churn, args=(port, n, results)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(CLIENTS):
        print("client", number, results[number])
    client = Client(port)
    client.store("set", "number", b"5")
    print(client.ask("incr number 37"), client.ask("decr number 2"), client.ask("touch number 100"))
    print(client.ask("flush_all"), client.fetch(["number"]))


main()
