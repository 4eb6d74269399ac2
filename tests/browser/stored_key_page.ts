/** What the page of the test gives to the test. */
import { storedKey } from "../../src/auth/stored_key.ts";

/** What a test asks of a page. */
export interface StoredKeyPage {
  /** The thumbprint of the key under a name, and whether what it signs is good. */
  use(name: string): Promise<{ readonly thumbprint: string; readonly signs: boolean; readonly shown: string }>;
  /** Reads the pair as any script of the origin can, and tries to take the private half out of it. */
  steal(name: string): Promise<readonly string[]>;
  /** Keeps a pair of an attacker's, which can be exported, under a name. */
  plant(name: string): Promise<void>;
  /** The message of the error that using the key fails with. */
  refusal(name: string): Promise<string>;
}

const page: StoredKeyPage = {
  async use(name) {
    const key = await storedKey(name);
    const bytes = new TextEncoder().encode("signed");
    const publicKey = await crypto.subtle.importKey("raw", key.publicKey, "Ed25519", true, ["verify"]);
    const signs = await crypto.subtle.verify("Ed25519", publicKey, await key.sign(bytes), bytes);
    return { thumbprint: key.thumbprint, signs, shown: JSON.stringify(key) };
  },
  async steal(name) {
    const pair: CryptoKeyPair = await stored("readonly", (store) => store.get(name));
    const tries = [pair, structuredClone(pair)].flatMap(({ privateKey }) => [
      ...["jwk", "pkcs8", "raw"].map((format) => crypto.subtle.exportKey(format as "jwk", privateKey)),
      crypto.subtle.wrapKey("pkcs8", privateKey, pair.publicKey, "AES-KW"),
    ]);
    const outcomes = await Promise.allSettled(tries);
    return outcomes.map((outcome) => outcome.status === "fulfilled" ? "stolen" : String(outcome.reason.name));
  },
  async plant(name) {
    const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
    await stored("readwrite", (store) => store.put(pair, name));
  },
  refusal: (name) => storedKey(name).then(() => "none", String),
};

interface Store {
  get(name: string): Asked;
  put(value: unknown, name: string): Asked;
}

interface Asked {
  onsuccess: () => void;
  readonly result: never;
}

/** Without the types of IndexedDB, which this file is not checked with. */
function stored(mode: string, ask: (store: Store) => Asked): Promise<never> {
  const { indexedDB } = globalThis as never as { indexedDB: { open(name: string): Asked } };
  return new Promise((resolve) => {
    const opening = indexedDB.open("postern-keys");
    opening.onsuccess = () => {
      const database: { transaction(store: string, mode: string): { objectStore(name: string): Store } } =
        opening.result;
      const asked = ask(database.transaction("keys", mode).objectStore("keys"));
      asked.onsuccess = () => resolve(asked.result);
    };
  });
}

Object.assign(globalThis, { page });
