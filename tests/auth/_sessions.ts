// Sessions as a man in the middle sees them, and as a caller who holds their keys could misuse them.
import { nobleHash } from "../../src/internal/hash.ts";
import type { HashProvider, ReplayStore, UsedNonce } from "../../src/auth/mod.ts";
import { AuthError } from "../../src/auth/auth_error.ts";
import { textMac } from "../../src/auth/session_signature.ts";
import { type RequestParts, valueOf } from "../../src/auth/request_signature.ts";
import { type Attack, type Scene, sceneOf } from "./_attack.ts";
import { type Change, changed, requestParts, targetOf } from "./_messages.ts";
import { type Captured, type ProtectedEcho, requestOf, type Wire } from "./_world.ts";

/** How a request is proven. */
export type Kind = "signed" | "opening" | "session";

export function kindOf({ headers }: Captured): Kind {
  if (headers["signature-input"]!.endsWith(';tag="postern-session"')) return "session";
  return headers["postern-session"] === undefined ? "signed" : "opening";
}

export const kindsOf = (captured: readonly Captured[]): Kind[] => captured.map(kindOf);

/** The reasons in a server's audit, one for each decision. */
export const reasonsOf = ({ audit }: ProtectedEcho) => audit.events.map(({ reason }) => reason);

/** Hashes as ever, and keeps the keys of sessions: the client's MAC key first, then the server's, of each. */
export function spyHash(): HashProvider & { readonly keys: Uint8Array[] } {
  const noble = nobleHash();
  const keys: Uint8Array[] = [];
  return {
    keys,
    sha256: noble.sha256,
    hmac(key) {
      keys.push(key.slice());
      return noble.hmac(key);
    },
  };
}

/** A client under whose session the next call will be made, and what it sent so far. */
export interface Under extends Scene {
  readonly client: ReturnType<ProtectedEcho["client"]>;
  readonly captured: Captured[];
  /** Of the first session: the client's key and the server's. */
  readonly keys: Uint8Array[];
  /** What stands between the two from now on. */
  between: NonNullable<Wire["through"]>;
}

/** A scene in which the first call was signed and the second opened a session. */
export async function underSession(
  { options, proving }: Pick<Attack, "options" | "proving"> = {},
): Promise<Under> {
  const scene = await sceneOf(options);
  const captured: Captured[] = [];
  const hash = spyHash();
  const under: { between: Under["between"] } = { between: (request, send) => send(request) };
  const through: Wire["through"] = (request, send) => under.between(request, send);
  const client = scene.echo.client(scene.web, { captured, through, hash, ...await proving?.(scene) });
  await client.say({ text: "first" });
  await client.say({ text: "second" });
  return Object.assign(under, { ...scene, client, captured, keys: hash.keys });
}

/** A request under the session that never arrived: a man in the middle has it. */
export async function heldBack(under: Under, method: "say" | "look" = "say"): Promise<Captured> {
  const { between } = under;
  let held: Captured | undefined;
  under.between = (request) => {
    held = request;
    return Promise.reject(new Error("held back"));
  };
  await under.client[method]({ text: "held" }).catch(() => {});
  under.between = between;
  return held!;
}

/** Changes a request and proves it again with the session's own key: what a hostile caller can do. */
export function remade(captured: Captured, change: Change, key: Uint8Array): Captured {
  const next = changed(captured, change);
  const [, list, terms] = /^s=\(([^)]*)\)(.*)$/.exec(captured.headers["signature-input"]!)!;
  const components = change.components?.(list!.split(" ")) ?? list!.split(" ");
  const text = `(${components.join(" ")})${change.terms?.(terms!) ?? terms!}`;
  const parts: RequestParts = requestParts(next.method, targetOf(next.url), next.headers);
  const lines = components.map((each) => `${each}: ${valueOf(parts)(each) ?? ""}\n`).join("");
  const mac = textMac(nobleHash(), key)(`${lines}"@signature-params": ${text}`);
  const proof = { "signature-input": `${change.label ?? "s"}=${text}`, signature: `${change.label ?? "s"}=:${mac}:` };
  return { ...next, headers: { ...next.headers, ...proof } };
}

/** The counter of a request under a session. */
export const counterOf = ({ headers }: Captured): number =>
  Number(/nonce="(\d+)"/.exec(headers["signature-input"]!)![1]);

/** Another counter, so that a request which is proven again is no replay. */
export const counted = (counter: number) => (terms: string): string =>
  terms.replace(/nonce="\d+"/, `nonce="${counter}"`);

export const send = async ({ server }: ProtectedEcho, request: Captured): Promise<Response> =>
  await server.fetch(requestOf(request));

/** A store that several servers use; it is older than all of them. */
export function sharedReplay(now: () => number): ReplayStore & { readonly used: UsedNonce[] } {
  const used: UsedNonce[] = [];
  return {
    used,
    sinceMs: 0,
    shared: true,
    async take(each) {
      await Promise.resolve();
      const isUsed = used.some(({ signer, nonce, expiresAtMs }) =>
        signer === each.signer && nonce === each.nonce && expiresAtMs > now()
      );
      if (isUsed) throw new AuthError("replayed", "Cannot accept the message: it came before");
      used.push(each);
    },
  };
}
