/** Chance that comes out the same for the same seed. */
export interface Chance {
  /** A whole number from 0 to `n - 1`. */
  below(n: number): number;
  /** A whole number from `from` to `to`, both of them included. */
  between(from: number, to: number): number;
  /** Whether something happens that does so in `percent` of all cases. */
  happens(percent: number): boolean;
  /** One of several. */
  pick<Item>(items: readonly Item[]): Item;
  /** Several different ones, at most `count`. */
  some<Item>(items: readonly Item[], count: number): readonly Item[];
  /** Fills an array with random bits. */
  fill<View extends ArrayBufferView>(view: View): View;
  /** Chance of its own, so that one part drawing more does not change what another part draws. */
  fork(): Chance;
}

/**
 * Draws from a generator that is small, fast and no secret (Mulberry32): for simulations only.
 *
 * @param seed Where it begins; a whole number.
 */
export function chance(seed: number): Chance {
  let state = seed >>> 0;
  const word = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const below = (n: number) => Math.floor(word() / 2 ** 32 * n);
  return {
    below,
    between: (from, to) => from + below(to - from + 1),
    happens: (percent) => below(100) < percent,
    pick: (items) => items[below(items.length)]!,
    some(items, count) {
      const left = [...items];
      const chosen = [];
      while (left.length > 0 && chosen.length < count) chosen.push(left.splice(below(left.length), 1)[0]!);
      return chosen;
    },
    fill(view) {
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      for (let i = 0; i < bytes.length; i++) bytes[i] = word();
      return view;
    },
    fork: () => chance(word()),
  };
}
