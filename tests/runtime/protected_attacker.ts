/** Somebody who can reach a protected server, has keys of his own, and has seen the requests of others. */
import {
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  prove,
  type ProveOptions,
} from "../../src/auth/mod.ts";
import { createClient, fetchTransport } from "../../src/rpc/mod.ts";
import { createFetch } from "../../src/runtime/deno.ts";
import { issueCertificate, makeCa } from "../../tools/dev_ca.ts";
import type { Captured } from "../auth/_world.ts";
import type { RuntimeName } from "./launch.ts";
import { CLIENTS, createDomain, DOMAIN, type Domain } from "./protected_domain.ts";
import type { ProtectedLauncher } from "./protected_launch.ts";
import { Guarded } from "./programs/protected_app.ts";

/** What came back for a request that was sent as it is. */
export interface Answer {
  readonly status: number;
  /** The code of a refusal. */
  readonly code: string | undefined;
  /** Whether the answer has a proof; whether that is good is a client's to check. */
  readonly proven: boolean;
  readonly headers: Headers;
  readonly text: string;
}

/** What a request is made of that its signer proves, and that nobody has sent yet. */
export interface Signing extends Partial<ProveOptions> {
  /** The method of `guarded.v1`. @default {"hello"} */
  readonly call?: "hello" | "charge" | "shut";
}

/** A server, and what an attacker can do. */
export interface Attacker extends AsyncDisposable {
  readonly domain: Domain;
  /** The server's id. */
  readonly server: string;
  /** A caller that a rule allows, and another one. */
  readonly web: Identity;
  readonly other: Identity;
  /** Makes identities, of this trust domain or of another authority. */
  identity(id: string, options?: { readonly by?: Domain["authority"]; readonly now?: () => number }): Promise<Identity>;
  /** A good request of a client that it has not sent. */
  sign(who: Identity, signing?: Signing): Promise<Captured>;
  /** Sends a request as it is. */
  deliver(request: Captured): Promise<Answer>;
  /** An honest call; its answer says how many have reached a handler, and why others were refused since the last. */
  honest(): Promise<{ readonly calls: number; readonly refused: readonly string[] }>;
}

const MESSAGES = { hello: { name: "Ada" }, charge: { cents: 50 }, shut: {} } as const;

/**
 * Starts a protected server on a runtime.
 *
 * @param runtime The runtime.
 * @param launcher What starts it.
 * @returns The attacker.
 */
export async function createAttacker(runtime: RuntimeName, launcher: ProtectedLauncher): Promise<Attacker> {
  await using starting = new AsyncDisposableStack();
  const ca = await makeCa();
  const certificate = await issueCertificate({ authority: ca });
  const domain = await createDomain();
  const { id: server, ...member } = await domain.joinServer(runtime);
  const input = { member, caller: CLIENTS, startedMsAgo: 2_000, serving: { port: 0, ...certificate } };
  const { url } = starting.use(await launcher.startServer(runtime, input));
  const send = starting.use(createFetch({ caCerts: [ca.ca] }));
  const trust = await createTrust({ [DOMAIN]: domain.authority.bundle() });
  const identity: Attacker["identity"] = async (id, { by = domain.authority, now } = {}) => {
    const key = await generateKey();
    return importIdentity(key, await by.issue(key.jwk, { id }), now ? { now } : {});
  };
  const web = await identity(`spiffe://${DOMAIN}/client/web`);
  const other = await identity(`spiffe://${DOMAIN}/client/other`);
  const honest = createClient(
    Guarded,
    fetchTransport(url, { prover: prove({ identity: web, trust, peer: server }), fetch: send }),
  );
  const running = starting.move();
  return {
    domain,
    server,
    web,
    other,
    identity,
    async sign(who, { call = "hello", ...proving } = {}) {
      let captured: Captured | undefined;
      const fetch = (url: string, { method, headers, body }: RequestInit) => {
        captured = { url, method: method!, headers: headers as Record<string, string>, body: body as string };
        return Promise.reject(new Error("Nobody sends it"));
      };
      const prover = prove({ identity: who, trust, peer: server, ...proving });
      const client = createClient(Guarded, fetchTransport(url, { prover, fetch }));
      const error = await client[call](MESSAGES[call] as never).then(() => undefined, (thrown: Error) => thrown);
      if (!captured) throw new Error("The request was not made", { cause: error });
      return captured;
    },
    deliver: (request) => deliver(send, request),
    honest: () => honest.hello({ name: "Grace" }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function deliver(send: ReturnType<typeof createFetch>, request: Captured): Promise<Answer> {
  const { url, method, headers, body } = request;
  // Bytes, because a text would get a media type.
  const response = await send(url, { method, headers, body: new TextEncoder().encode(body) });
  const text = await response.text();
  const code: string | undefined = response.status === 200 ? undefined : JSON.parse(text).code;
  return { status: response.status, code, proven: response.headers.has("signature"), headers: response.headers, text };
}
