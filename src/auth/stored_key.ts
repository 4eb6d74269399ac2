import { AuthError } from "./auth_error.ts";
import { keyOfPair, type SigningKey } from "./signing_key.ts";
import { ALGORITHM } from "./wire.ts";

/**
 * The key that a browser keeps under a name: made at the first call, the same ever after.
 *
 * The key cannot be exported, not even by the page: a script that got into it can sign for as long as it runs, and take
 * nothing along. It is kept in the origin's IndexedDB, and all tabs and workers of the origin have the same one. Where the
 * user clears the site's data, or the browser is short of space and the origin may not persist
 * (`navigator.storage.persist()`), it is gone, and another is made. To rotate it use another name.
 *
 * @example The key of a page
 * ```ts ignore
 * import { storedKey } from "@postern/rpc/auth";
 *
 * const key = await storedKey("session");
 * ```
 *
 * @param name The key's name, of 1 to 128 characters.
 * @returns The key.
 * @throws {TypeError} The name is none, or the runtime has no IndexedDB: servers have other key sources.
 * @throws {AuthError} `malformed_key`: what is kept under the name is not such a key.
 * @throws {DOMException} The browser refuses to keep anything, as in some private windows.
 */
export async function storedKey(name: string): Promise<SigningKey> {
  if (typeof name !== "string" || name.length < 1 || name.length > 128) {
    throw new TypeError("Cannot keep the key: its name must be of 1 to 128 characters");
  }
  const { indexedDB } = globalThis as { readonly indexedDB?: Databases };
  if (!indexedDB) throw new TypeError("Cannot keep the key: this runtime has no IndexedDB");
  const database = await open(indexedDB);
  try {
    const pair = await get(database, name) ?? await add(database, name, await newPair());
    if (pair.privateKey?.extractable !== false) {
      throw new AuthError("malformed_key", "Cannot use the kept key: it is not one, or it could be exported");
    }
    return await keyOfPair(pair);
  } finally {
    database.close();
  }
}

/** Before the transaction: one that waits for anything else than its own requests ends. */
async function newPair(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]) as CryptoKeyPair;
}

function open(factory: Databases): Promise<Database> {
  const request = factory.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return resultOf(request);
}

async function get(database: Database, name: string): Promise<CryptoKeyPair | undefined> {
  return await resultOf(database.transaction(STORE, "readonly").objectStore(STORE).get(name));
}

/** Transactions that write come one after the other, those of other tabs too: who is second finds the first one's key. */
async function add(database: Database, name: string, pair: CryptoKeyPair): Promise<CryptoKeyPair> {
  const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
  const stored = new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
  const store = transaction.objectStore(STORE);
  const request = store.get(name);
  request.onsuccess = () => request.result ?? store.put(pair, name);
  await stored;
  return request.result ?? pair;
}

function resultOf<Result>(request: Requested<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** As much of IndexedDB as is used; the types of server runtimes do not have it. */
interface Databases {
  open(name: string, version: number): Requested<Database> & { onupgradeneeded: (() => void) | null };
}

interface Database {
  createObjectStore(name: string): unknown;
  transaction(store: string, mode: "readonly" | "readwrite", options?: { durability: "strict" }): {
    oncomplete: (() => void) | null;
    onabort: (() => void) | null;
    readonly error: unknown;
    objectStore(name: string): {
      get(name: string): Requested<CryptoKeyPair | undefined>;
      put(pair: CryptoKeyPair, name: string): unknown;
    };
  };
  close(): void;
}

interface Requested<Result> {
  onsuccess: (() => void) | null;
  onerror: (() => void) | null;
  readonly result: Result;
  readonly error: unknown;
}

const DATABASE = "postern-keys";
const STORE = "keys";
