import type { Identity } from "../../auth/mod.ts";
import type { Encrypt } from "../publishing.ts";
import type { SignedEvents } from "../signed_events.ts";
import { checkEncryption, type EncryptionOptions } from "./encryption_options.ts";
import type { TopicKeys } from "./epoch_publisher.ts";
import type { TopicReader } from "./epoch_subscriber.ts";

/** What encrypts and decrypts for one identity. */
export interface Encryption extends AsyncDisposable {
  /** Encrypts the data of an event, with a key that everybody has who may read it now. */
  readonly encrypt: Encrypt;
  /**
   * Gets the keys of topics.
   *
   * @param pattern The topics.
   */
  reader(pattern: string): Promise<TopicReader>;
}

/**
 * Encrypts and decrypts over the keys that publishers give subscribers; what does it is loaded when it is first used.
 *
 * @param signed What carries the keys.
 * @param identity Who encrypts.
 * @param options How long a key is used, and the clock.
 * @throws {RangeError} An option is out of its range.
 */
export function encryption(
  signed: SignedEvents,
  identity: Identity,
  options: EncryptionOptions & { readonly now: () => number },
): Encryption {
  checkEncryption(options);
  let keys: Promise<TopicKeys> | undefined;
  const load = async () => (await import("./epoch_publisher.ts")).topicKeys(signed, options);
  return {
    async encrypt(topic, id, text) {
      const { encryptData } = await import("./event_encryption.ts");
      const epoch = await (await (keys ??= load())).current(topic);
      return await encryptData(epoch, { topic, id, publisher: signed.id }, text);
    },
    async reader(pattern) {
      const { keysFor } = await import("./epoch_subscriber.ts");
      return await keysFor(signed, pattern, { identity, now: options.now });
    },
    async [Symbol.asyncDispose]() {
      await (await keys)?.[Symbol.asyncDispose]();
    },
  };
}
