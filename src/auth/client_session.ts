import type { HashProvider } from "../internal/hash.ts";
import { RpcError } from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import type { EncryptionJwk } from "./encryption_key.ts";
import type { Identity } from "./identity.ts";
import type { SessionKeys, SessionParty } from "./session_keys.ts";
import { type TextMac, textMac } from "./session_signature.ts";
import { parseWorkloadId } from "./spiffe_id.ts";
import type { Trust } from "./trust.ts";
import type { Workload } from "./wit.ts";

/** A session as its client has it. */
export interface ClientSession {
  /** Its id: the encapsulated key. */
  readonly id: string;
  readonly keys: SessionKeys;
  readonly clientMac: TextMac;
  readonly serverMac: TextMac;
  /** The right that its calls are made under, as its `authorization`; "" for none. */
  readonly right: string;
  /** The identity token that it is bound to. */
  readonly token: string;
  /** Until when new requests are made under it, in milliseconds since 1970. */
  readonly usableUntilMs: number;
  /** Whether the server said that it knows it. */
  isOpen: boolean;
  /** Whether whoever asks is to open it: one request at a time does. */
  claim(): boolean;
  /** Throws an `RpcError` when the server was revoked in the meantime, or its token has ended. */
  assertServerHolds(): void;
  /** The next counter; each is used once. */
  next(): number;
  /**
   * What opens it: from a counter on, above every one that was used.
   *
   * @param instead The session and the counter of a request that was refused and is made again by this one.
   */
  opening(instead?: string): string;
}

/** The sessions of one client with one server: one for each right that calls are made under. */
export interface ClientSessions {
  /** Takes in who the server proved to be. */
  learn(encryptionKey: string, server: Workload): void;
  /** Whether the server has proven that its authority lets it serve a service. */
  serves(service: string): boolean;
  /**
   * The session to use.
   *
   * @param right The right that the session's calls are made under; "" for none.
   * @param rightEndsAtMs When that ends.
   * @returns The session; undefined where the server is not known yet.
   */
  get(right: string, rightEndsAtMs?: number): ClientSession | undefined | Promise<ClientSession | undefined>;
}

/** What sessions are made of. */
export interface ClientSessionsOptions {
  readonly identity: Identity;
  readonly trust: Trust;
  readonly audience: string;
  readonly hash: HashProvider;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
  readonly server: KnownServer | undefined;
}

/** A server of which a client knows enough to open a session with it. */
export interface KnownServer {
  /** Its encryption key. */
  readonly encryptionKey: EncryptionJwk;
  /** Who it is. */
  readonly workload: Pick<Workload, "id" | "thumbprint" | "serves" | "expiresAtMs">;
}

/** The sessions of one client with one server. */
export function clientSessions(options: ClientSessionsOptions): ClientSessions {
  const { trust, now } = options;
  const sessions = new Map<string, ClientSession>();
  const making = new Map<string, Promise<ClientSession | undefined>>();
  let server = options.server && serverOf(options.server.encryptionKey.x, options.server.workload);
  let revision = trust.revision;
  const forgetRevoked = () => {
    if (revision === trust.revision) return;
    revision = trust.revision;
    server = undefined;
    sessions.clear();
  };
  const make = async (right: string, rightEndsAtMs: number) => {
    const known = server!;
    const session = await makeSession(options, known, { right, rightEndsAtMs }).catch((error) => {
      // A server whose key is none is called all the same: its answers are signed.
      if (!(error instanceof AuthError) || error.reason !== "malformed_key") throw error;
    });
    if (!session) return undefined; // or what it would be opened with is about to end
    const isPresent = server?.encryptionKey === known.encryptionKey && server.thumbprint === known.thumbprint;
    if (!isPresent) return undefined; // another server has answered in the meantime
    if (sessions.size >= MAX_SESSIONS) sessions.delete(sessions.keys().next().value!);
    sessions.set(right, session);
    return session;
  };
  return {
    learn(encryptionKey, workload) {
      forgetRevoked();
      const isSame = server?.encryptionKey === encryptionKey && server.thumbprint === workload.thumbprint;
      server = serverOf(encryptionKey, workload);
      if (!isSame) sessions.clear();
    },
    serves: (service) => server?.serves.includes(service) ?? false,
    get(right, rightEndsAtMs = Infinity) {
      forgetRevoked();
      const session = sessions.get(right);
      if (session && session.usableUntilMs > now()) return session;
      if (!server) return undefined;
      const pending = making.get(right) ?? make(right, rightEndsAtMs).finally(() => making.delete(right));
      making.set(right, pending);
      return pending;
    },
  };
}

/** A server that has proven who it is. */
interface Server extends SessionParty, Pick<Workload, "serves" | "expiresAtMs"> {
  readonly encryptionKey: string;
}

const serverOf = (encryptionKey: string, workload: KnownServer["workload"]): Server => {
  const { id, thumbprint, serves, expiresAtMs } = workload;
  return { id, encryptionKey, thumbprint, serves, expiresAtMs };
};

async function makeSession(
  { identity, trust, audience, hash, now }: ClientSessionsOptions,
  server: Server,
  { right, rightEndsAtMs }: { readonly right: string; readonly rightEndsAtMs: number },
): Promise<ClientSession | undefined> {
  const { revision } = trust;
  const [credential, own] = [await identity.credential(), await identity.encryptionKey()];
  const token = credential.token.reveal();
  const client = { id: identity.id, thumbprint: identity.key.thumbprint };
  const endsAtMs = Math.min(credential.expiresAtMs, rightEndsAtMs, server.expiresAtMs) - MARGIN_MS;
  if (endsAtMs <= now()) return undefined;
  const { openSessionKeys } = await import("./session_keys.ts"); // where it is used, for who calls once or twice
  const { id, keys } = await openSessionKeys(own, server.encryptionKey, { client, server, audience, token, right });
  const clientMac = textMac(hash, keys.client);
  let counter = 0;
  let claimedUntilMs = 0;
  return {
    ...{ id, keys, right, token, isOpen: false },
    clientMac,
    serverMac: textMac(hash, keys.server),
    usableUntilMs: Math.min(now() + USABLE_MS, endsAtMs),
    claim() {
      if (now() < claimedUntilMs) return false;
      claimedUntilMs = now() + CLAIM_MS;
      return true;
    },
    assertServerHolds() {
      try {
        if (server.expiresAtMs <= now()) throw new AuthError("expired_token", "The server's token has ended");
        if (trust.revision === revision) return;
        const { trustDomain } = parseWorkloadId(server.id);
        trust.assertNotRevoked(trustDomain, { id: server.id, key: server.thumbprint });
      } catch (cause) {
        throw new RpcError("unavailable", "Cannot trust the server any more", { cause, received: true });
      }
    },
    next: () => ++counter,
    opening(instead) {
      const given = instead === undefined ? "" : `, instead="${instead}"`;
      const text = `enc="${id}", key="${own.jwk.x}", from=${counter + 1}${given}`;
      return `${text}, mac="${clientMac(text)}"`; // so that the server sees whether it has the same keys
    },
  };
}

/** For how long a session is used: a minute less than its server takes it, so that it never ends under way. */
const USABLE_MS = 540_000;
/** How long before the end of what a session was opened with it is not used any more, in milliseconds. */
const MARGIN_MS = 5_000;
/** How long the one request that opens a session may take before another one tries, in milliseconds. */
const CLAIM_MS = 2_000;
/** How many there are at once: rights that change with each call are not worth one. */
const MAX_SESSIONS = 16;
