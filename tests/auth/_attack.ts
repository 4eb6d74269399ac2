// One call of an honest client, with somebody in between.
import {
  type Captured,
  type ProtectedEcho,
  protectedEcho,
  requestOf,
  watchedAudit,
  WEB,
  type World,
  world,
} from "./_world.ts";
import type { Identity, ProveOptions } from "../../src/auth/mod.ts";
import type { AuditEvent, PeerInfo, RpcCode, RpcError } from "../../src/rpc/mod.ts";
import { rejection } from "../rpc/_rig.ts";
import assert from "node:assert/strict";

/** Who is there: the world, the server and an honest caller. */
export interface Scene {
  readonly world: World;
  readonly echo: ProtectedEcho;
  readonly web: Identity;
}

export interface Attack {
  readonly options?: Parameters<typeof protectedEcho>[1];
  readonly proving?: (scene: Scene) => Promise<Partial<ProveOptions>> | Partial<ProveOptions>;
  /** Happens before the call. */
  readonly before?: (scene: Scene) => unknown;
  /** What becomes of the request on its way. */
  readonly change?: (request: Captured, scene: Scene) => Captured | Promise<Captured>;
  readonly info?: (scene: Scene) => PeerInfo;
  readonly method?: "say" | "look" | "hidden";
}

export interface Outcome extends Scene {
  /** What the client was told. */
  readonly error: RpcError;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The code on the wire, whatever the client made of it. */
  readonly code: RpcCode;
  readonly event: AuditEvent;
  /** The reasons for which the client refused answers. */
  readonly refused: readonly (string | undefined)[];
}

export async function sceneOf(options: Attack["options"] = {}): Promise<Scene> {
  const at = await world();
  return { world: at, echo: await protectedEcho(at, options), web: await at.join(WEB) };
}

/** Makes the call, and asserts what every refusal has: no handler ran, and the audit has exactly one event. */
export async function attacked({ options, proving, before, change, info, method = "say" }: Attack): Promise<Outcome> {
  const scene = await sceneOf(options);
  await before?.(scene);
  const { echo, web } = scene;
  const [calls, events] = [echo.calls.length, echo.audit.events.length];
  const responses: Response[] = [];
  const audit = watchedAudit();
  const client = echo.client(web, {
    audit,
    ...await proving?.(scene),
    async through(request) {
      const sent = await change?.(request, scene) ?? request;
      const response = await echo.server.fetch(requestOf(sent), info?.(scene));
      responses.push(response.clone());
      return response;
    },
  });
  const error = await rejection(client[method]({ text: "secret words" }));
  assert.equal(echo.calls.length, calls, "the handler was called");
  const [response] = responses as [Response];
  const text = await response.text();
  const { code } = JSON.parse(text);
  const added = echo.audit.events.slice(events);
  assert.equal(added.length, responses.length, "the audit has one event for each refusal");
  assert.ok(!JSON.stringify([added, text]).includes("secret words"));
  return {
    ...scene,
    error,
    status: response.status,
    headers: response.headers,
    text,
    code,
    event: added[0]!,
    refused: audit.events.map(({ reason }) => reason),
  };
}

/** Asserts an outcome: the reason in the audit, the code on the wire, and whether the client could believe it. */
export function assertRefused(outcome: Outcome, reason: string, code: RpcCode, proven: boolean): void {
  const { event, error, headers } = outcome;
  assert.equal(event.event, "call.refuse");
  assert.equal(event.reason, reason);
  assert.equal(outcome.code, code);
  for (const name of ["signature", "signature-input", "workload-identity-token", "content-digest"]) {
    assert.equal(headers.has(name), proven, `${name} of the refusal`);
  }
  assert.equal(error.code, proven ? code : "unavailable");
  assert.deepEqual(outcome.refused, proven ? [] : ["unsigned"]);
}

/** Everything but the id that each refusal has of its own. */
export const withoutId = ({ status, headers, text }: Pick<Outcome, "status" | "headers" | "text">): string =>
  JSON.stringify([
    status,
    [...headers].filter(([name]) =>
      !/^signature|^content-digest|^workload-identity-token|^postern-encryption-key/.test(name)
    ),
    text.replace(/"value":"[^"]*"/, "").replace(/"requestId":"[^"]*"/, ""),
  ]);
