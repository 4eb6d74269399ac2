/** The calls of the protected client programs: what must be answered, what must be refused, each with its proof. */
import { anonymous, cbor, createClient, fetchTransport, RpcError } from "@postern/rpc";
import {
  attenuate,
  type Capability,
  type Identity,
  prove,
  type ProveOptions,
  range,
  readChain,
  secret,
  type Trust,
} from "@postern/rpc/auth";
import type { Fetch } from "./calls.ts";
import { Guarded } from "./protected_app.ts";

/** A server to call. */
export interface ProtectedPeer {
  /** Where it is. */
  readonly url: string;
  /** Who it is. */
  readonly id: string;
}

/** Who calls. */
export interface ProtectedSelf {
  /** Who the client is. */
  readonly identity: Identity;
  /** Whom it believes. */
  readonly trust: Trust;
  /** The chain of its right to charge from 1 to 100 cents. */
  readonly right: string;
}

/**
 * Calls a protected server in every way that must work, or fail, between any two runtimes. That a refusal keeps its code
 * says that it was proven: of an answer that is not, the client makes `unavailable`.
 *
 * @param fetch The client runtime's fetch.
 * @param peer The server.
 * @param self The client.
 * @returns `ok` or what went wrong, by call.
 */
export async function runProtectedCalls(
  fetch: Fetch,
  peer: ProtectedPeer,
  self: ProtectedSelf,
): Promise<Record<string, string>> {
  const at: Scene = { fetch, peer, self, right: readChain(secret(self.right)), refused: [] };
  let before = NaN;
  return {
    first: await attempt(async () => (before = (await clientOf(at).hello({ name: "Ada" })).calls) > 0),
    caller: await attempt(() => caller(at)),
    cbor: await attempt(() => mirror(at)),
    error: await attempt(() => fail(at)),
    masked: await attempt(() => crash(at)),
    denied: await attempt(() => refused(clientOf(at).shut({}), "permission_denied", "Cannot call this method")),
    right: await attempt(() => charge(at)),
    outside: await attempt(() => charging(at, at.right, 101)),
    withoutRight: await attempt(() => charging(at, undefined, 1)),
    narrowed: await attempt(() => narrowed(at)),
    stranger: await attempt(() => stranger(at)),
    // The calls above that are to reach a handler, and this one: no refused one did.
    handled: await attempt(() => handled(at, before)),
    wrongPeer: await attempt(() => wrongPeer(at)),
    unsigned: await attempt(() => onTheWay(at, ({ headers }) => headers.delete("signature"))),
    flipped: await attempt(() => onTheWay(at, ({ body }) => body[9]! ^= 1)),
    unproven: await attempt(() => Promise.resolve(at.refused.join() === UNPROVEN || at.refused.join())),
  };
}

interface Scene {
  readonly fetch: Fetch;
  readonly peer: ProtectedPeer;
  readonly self: ProtectedSelf;
  readonly right: Capability;
  /** Why the client refused answers. */
  readonly refused: (string | undefined)[];
}

function clientOf(
  { fetch, peer, self: { identity, trust }, refused }: Scene,
  proving: Partial<ProveOptions> = {},
  more: Partial<Parameters<typeof fetchTransport>[1]> = {},
) {
  const audit = { record: ({ reason }: { readonly reason?: string | undefined }) => void refused.push(reason) };
  const prover = prove({ identity, trust, peer: peer.id, audit, ...proving });
  return createClient(Guarded, fetchTransport(peer.url, { prover, fetch, ...more }));
}

async function caller(at: Scene): Promise<unknown> {
  const { id, roles, attributes } = at.self.identity;
  const got = await clientOf(at).hello({ name: "Zoë 👋" });
  const expected = JSON.stringify({ id, roles, attributes });
  const { caller } = got;
  const seen = JSON.stringify({ id: caller.id, roles: caller.roles, attributes: caller.attributes });
  return got.text === "Hello, Zoë 👋!" && roles.length > 0 && seen === expected || JSON.stringify(got);
}

async function mirror(at: Scene): Promise<unknown> {
  const sent = { bytes: Uint8Array.of(0, 255), at: new Date(1_234_567_890_123), big: 2n ** 70n };
  const got = await clientOf(at, {}, { codec: cbor() }).mirror(sent);
  return got.big === sent.big && got.at.getTime() === sent.at.getTime() && `${got.bytes}` === "0,255" || got;
}

async function fail(at: Scene): Promise<unknown> {
  const error = await errorOf(clientOf(at).fail({}));
  const whole = error.code === "out_of_range" && error.message === "There are not that many" && error.correlationId;
  return whole && JSON.stringify(error.details) === '{"left":3}' || error;
}

async function crash(at: Scene): Promise<unknown> {
  return await refused(clientOf(at).crash({}), "internal", "The call failed inside the service");
}

async function charge(at: Scene): Promise<unknown> {
  const { id, trustDomain } = at.self.identity;
  const { cents, path } = await clientOf(at, { capability: at.right }).charge({ cents: 100 });
  return cents === 100 && path.join() === `spiffe://${trustDomain},${id}` || JSON.stringify({ cents, path });
}

/** A charge that is refused, and in the words that every other call is that may not be made. */
function charging(at: Scene, capability: Capability | undefined, cents: number): Promise<unknown> {
  const client = clientOf(at, capability ? { capability } : {});
  return refused(client.charge({ cents }), "permission_denied", "Cannot call this method");
}

/** A right that the client itself made narrower: its runtime signs, the server's verifies. */
async function narrowed(at: Scene): Promise<unknown> {
  const { identity } = at.self;
  const tools = { "guarded.v1/charge": { cents: range({ min: 1, max: 10 }) } };
  const capability = await attenuate(at.right, identity, { holder: identity.id, tools, audience: at.peer.id });
  const { cents } = await clientOf(at, { capability }).charge({ cents: 10 });
  return cents === 10 && await charging(at, capability, 11);
}

async function stranger(at: Scene): Promise<unknown> {
  const prover = anonymous();
  return await refused(clientOf(at, {}, { prover }).hello({ name: "Ada" }), "unauthenticated");
}

/** What the server says of the calls before: how many reached a handler, and why the others did not. */
async function handled(at: Scene, before: number): Promise<unknown> {
  const { calls, refused } = await clientOf(at).hello({ name: "Ada" });
  const [rule, argument] = ["not_allowed", "argument_not_allowed"];
  const reasons = refused.filter((reason) => reason !== "before_start").join(); // and those were proven again
  const expected = [rule, argument, rule, argument, "unsigned"].join();
  return calls - before === 7 && reasons === expected || `${calls - before} calls, ${reasons}`;
}

/** The server lets the call in, but it is not who the client means to call. */
async function wrongPeer(at: Scene): Promise<unknown> {
  const { id } = at.peer;
  return await refused(clientOf(at, { peer: `${id}/other`, audience: id }).hello({ name: "Ada" }), "unavailable");
}

/** An answer that is changed before the client has it. */
async function onTheWay(
  { fetch: send, ...at }: Scene,
  change: (answer: { readonly headers: Headers; readonly body: Uint8Array }) => unknown,
): Promise<unknown> {
  const fetch: Fetch = async (input, init) => {
    const response = await send(input, init);
    const answer = { headers: new Headers(response.headers), body: new Uint8Array(await response.arrayBuffer()) };
    change(answer);
    return new Response(answer.body, { status: response.status, headers: answer.headers });
  };
  return await refused(clientOf({ fetch, ...at }).hello({ name: "Ada" }), "unavailable");
}

/** Why the client is to refuse the last answers. */
const UNPROVEN = "wrong_peer,unsigned,bad_digest";

async function refused(call: Promise<unknown>, code: string, message?: string): Promise<unknown> {
  const error = await errorOf(call);
  return error.code === code && (message === undefined || error.message === message) || error;
}

async function errorOf(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof RpcError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}

async function attempt(call: () => Promise<unknown>): Promise<string> {
  try {
    const result = await call();
    return result === true ? "ok" : `unexpected: ${result}`;
  } catch (error) {
    return `failed: ${error}`;
  }
}
