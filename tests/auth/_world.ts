// A small trust domain for tests: an authority, identities, a protected server and a client that proves itself, all on one
// clock that tests move.
import {
  allow,
  type Attested,
  type Authority,
  createAuthority,
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  memoryReplay,
  policy,
  protect,
  type ProtectOptions,
  prove,
  type ProveOptions,
  type Rule,
  type Trust,
} from "../../src/auth/mod.ts";
import {
  type Audit,
  type AuditEvent,
  type Context,
  createClient,
  createServer,
  fetchTransport,
  implement,
  type LogEntry,
  type Server,
  type Service,
} from "../../src/rpc/mod.ts";
import { collect, Echo, type Words } from "../rpc/_rig.ts";

export const DOMAIN = "example.org";
export const WEB = `spiffe://${DOMAIN}/web`;
export const ECHO = `spiffe://${DOMAIN}/echo`;

/** A clock that stands still until a test moves it; it starts at a whole second. */
export interface Clock {
  (): number;
  /** Lets time pass. */
  pass(ms: number): void;
}

export function clock(startMs = 1_800_000_000_000): Clock {
  let nowMs = startMs;
  return Object.assign(() => nowMs, { pass: (ms: number) => void (nowMs += ms) });
}

/** A trust domain. */
export interface World {
  readonly now: Clock;
  readonly authority: Authority;
  readonly trust: Trust;
  /** An identity without a network. */
  join(id: string, more?: Omit<Attested, "id">): Promise<Identity>;
}

export async function world(domain = DOMAIN, now = clock()): Promise<World> {
  const authority = await createAuthority(domain, { now });
  const trust = await createTrust({ [domain]: authority.bundle() }, { now });
  return {
    now,
    authority,
    trust,
    async join(id, more = {}) {
      const key = await generateKey();
      return importIdentity(key, await authority.issue(key.jwk, { id, ...more }), { now });
    },
  };
}

/** An audit that keeps its events. */
export function watchedAudit(): Audit & { readonly events: AuditEvent[] } {
  const events: AuditEvent[] = [];
  return { events, record: (event) => void events.push(event) };
}

/** A request as it went over the wire: what an attacker on the way has in hand. */
export interface Captured {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

export interface ProtectedEcho {
  readonly server: Server;
  readonly identity: Identity;
  /** The messages that reached a handler, and what it was told. */
  readonly calls: { readonly message: Words; readonly context: Context }[];
  readonly entries: LogEntry[];
  readonly audit: ReturnType<typeof watchedAudit>;
  /** A client of `identity` that proves itself; `captured` gets each request, `tamper` may change each response. */
  client(
    identity: Identity,
    options?: Partial<ProveOptions> & Wire,
  ): ReturnType<typeof createClient<typeof Echo extends Service<infer Methods> ? Methods : never>>;
}

export interface Wire {
  readonly captured?: Captured[];
  /** Stands between client and server. */
  readonly through?: (request: Captured, send: (request: Captured) => Promise<Response>) => Promise<Response>;
}

/** Rebuilds a captured request. */
export function requestOf({ url, method, headers, body }: Captured): Request {
  return new Request(url, method === "GET" ? { method, headers } : { method, headers, body });
}

/** The echo server of tests/rpc/_rig.ts behind `protect`, its replay store older than the clock's present second. */
export async function protectedEcho(
  { now, trust, join }: World,
  options: Partial<ProtectOptions> & {
    readonly rules?: readonly Rule[];
    readonly answer?: (message: Words, context: Context) => unknown;
  } = {},
): Promise<ProtectedEcho> {
  const { rules = [allow({ caller: WEB, call: "echo.v1/*" })], answer = (message: Words) => message, ...protection } =
    options;
  const identity = protection.identity ?? await join(ECHO, { serves: ["echo.v1"] });
  const audit = watchedAudit();
  const { log, entries } = collect();
  const calls: ProtectedEcho["calls"] = [];
  const handle = (message: Words, context: Context) => {
    calls.push({ message, context });
    return answer(message, context) as Words;
  };
  const guard = protect({
    identity,
    trust,
    policy: policy(rules),
    audit,
    replay: memoryReplay({ now }),
    now,
    ...protection,
  });
  const server = createServer(implement(Echo, { say: handle, look: handle, hidden: handle }), { guard, log });
  return {
    server,
    identity,
    calls,
    entries,
    audit,
    client(caller, { captured = [], through, ...proving } = {}) {
      const send = (request: Captured) => server.fetch(requestOf(request));
      const fetch = (url: string, init: RequestInit) => {
        const request = {
          url,
          method: init.method!,
          headers: init.headers as Record<string, string>,
          body: init.body as string,
        };
        captured.push(request);
        return through ? through(request, send) : send(request);
      };
      const prover = prove({ identity: caller, trust, peer: identity.id, now, ...proving });
      return createClient(Echo, fetchTransport("https://echo.test", { prover, fetch }));
    },
  };
}
