"""Objects of many kinds and sizes that live for a while; prints what does not vary from run to run."""

live = [None] * 30000
state = total = 0
for i in range(200000):
    state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    kind, size = i % 6, (state >> 16) % 200
    if kind == 0:
        value = "x" * size
    elif kind == 1:
        value = [i] * (size // 4)
    elif kind == 2:
        value = {"id": i, "name": str(i), "size": size}
    elif kind == 3:
        value = (i * 1.5, i, bytes(size * 4))
    elif kind == 4:
        value = bytearray(size * 10)
    else:
        value = {i, size, state}
    at = (state >> 8) % len(live)
    total += len(live[at] or ())
    live[at] = value
print(total, sum(len(value) for value in live if value))
