/** How long a publisher uses a key of an encrypted topic. */
export interface EncryptionOptions {
  /** For how long, in milliseconds, 1,000 to 86,400,000. @default {3_600_000, an hour} */
  readonly rotateMs?: number | undefined;
  /** For how many messages, 1 to 4,294,967,296, where random IVs would begin to repeat. @default {16_777_216} */
  readonly maxMessages?: number | undefined;
}

/**
 * Fills in the defaults.
 *
 * @param options What differs from them.
 * @returns All of them.
 * @throws {RangeError} One is out of its range.
 */
export function checkEncryption(
  options: EncryptionOptions = {},
): { readonly rotateMs: number; readonly maxMessages: number } {
  const { rotateMs = 3_600_000, maxMessages = 2 ** 24 } = options;
  assertRange("rotateMs", rotateMs, 1_000, 86_400_000);
  assertRange("maxMessages", maxMessages, 1, 2 ** 32);
  return { rotateMs, maxMessages };
}

function assertRange(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new RangeError(`Cannot encrypt: "${name}" is from ${least} to ${most}`);
}
