"""Values of the draw function, from its formula. Prints the constants of src/draw.rs."""

M = (1 << 64) - 1


def mix(z):
    z = (z + 0x9E3779B97F4A7C15) & M
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
    return z ^ (z >> 31)


def text_key(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & M
    return h


def draw_hash(key, seed, draw):
    return mix(mix(mix(seed) ^ key) ^ draw)


print(f"const DRAW_42_7_0: u64 = {draw_hash(42, 7, 0):#x};")
print(f"const DRAW_TEXT_7_1: u64 = {draw_hash(text_key('user-42'), 7, 1):#x};")
