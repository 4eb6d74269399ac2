/** A source of whole numbers that nobody can predict. */
export interface Random {
  /**
   * A number from 0 to `n - 1`, each as likely as any other.
   *
   * @param n How many there are, from 1 to 4,294,967,296.
   */
  below(n: number): number;
}

/**
 * Draws numbers from the runtime's cryptographic source, without bias: what does not divide evenly is drawn again.
 *
 * The remainder of a division alone would prefer small numbers, and `Math.random` can be predicted from what was seen of it.
 *
 * @param fill Fills words with random bits. @default {crypto.getRandomValues}
 */
export function secureRandom(fill: (words: Uint32Array<ArrayBuffer>) => unknown = systemRandom): Random {
  const pool = new Uint32Array(POOL);
  let used = POOL;
  const word = () => {
    if (used === POOL) {
      fill(pool);
      used = 0;
    }
    const drawn = pool[used]!;
    pool[used++] = 0; // what was drawn is nobody's any more
    return drawn;
  };
  return {
    below(n) {
      if (!(Number.isInteger(n) && n >= 1 && n <= WORDS)) throw new RangeError(`Cannot draw one of ${n}`);
      const even = WORDS - WORDS % n;
      for (;;) {
        const drawn = word();
        if (drawn < even) return drawn % n;
      }
    },
  };
}

const systemRandom = (words: Uint32Array<ArrayBuffer>) => crypto.getRandomValues(words);

/** How many words are drawn at once: asking the runtime costs more than the words. */
const POOL = 256;
const WORDS = 2 ** 32;
