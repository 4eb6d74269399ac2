import type { Codec } from "../codec/mod.ts";
import type { Clock } from "./clock.ts";
import { ERROR_MEDIA_TYPE, STATUS_OF_CODE } from "./connect_protocol.ts";
import { CallContext } from "./context.ts";
import { failureOf } from "./failure.ts";
import { ProtocolError } from "./frames.ts";
import type { Admission, Guard, Incoming, Seal } from "./guard.ts";
import { CONNECTION_MEDIA_TYPE, readClientHello, type ServerHello } from "./hello.ts";
import { HttpRefusal } from "./http_head.ts";
import { CLOSE, type CloseReason } from "./link.ts";
import type { PeerCertificate } from "./peer.ts";
import type { Pipe, PipeUser } from "./pipe.ts";
import { proven } from "./proven.ts";
import { ProveAgainError, RpcError } from "./rpc_error.ts";
import { serveConnection } from "./served_connection.ts";
import { admit, NO_BODY, type ServerCore } from "./server_core.ts";

/** What a connection begins with. */
export interface DoorkeeperParts {
  readonly core: ServerCore;
  readonly codecs: ReadonlyMap<string, Codec>;
  /** The URL of the request that became a connection. */
  readonly url: string;
  readonly certificate: PeerCertificate | undefined;
  readonly clock: Clock;
  readonly pipe: Pipe;
}

/** A connection, from its first message on. */
export interface Doorkeeper extends PipeUser {
  /** Ends it when its calls are answered. */
  drain(): Promise<void>;
}

/** How long a client has until it is let in, in milliseconds. */
const HELLO_MS = 10_000;
/** The largest queue of answers for a client that does not read, in bytes. */
const MAX_QUEUED_BYTES = 16_777_216;

/**
 * Lets a client in, or not: takes one message and nothing else until the guard has answered, and a second one only where
 * the guard asked for another proof.
 */
export function doorkeeper(parts: DoorkeeperParts): Doorkeeper {
  let ended: () => void = () => {};
  const over = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const door: Door = {
    parts,
    context: new CallContext(undefined, HELLO_MS, parts.core.log, NOBODY),
    timer: parts.clock.set(() => end(door, CLOSE.silent), HELLO_MS),
    ended,
    state: "waiting",
    mayTryAgain: true,
    inside: undefined,
  };
  return {
    receive(message) {
      if (door.state === "open") return door.inside!.receive(message);
      if (door.state === "waiting") void greet(door, message);
      else if (door.state === "asking") end(door, CLOSE.protocol);
    },
    closed() {
      door.inside?.closed();
      end(door, undefined);
    },
    drain() {
      if (door.inside) door.inside.drain();
      else end(door, CLOSE.ending);
      return over;
    },
  };
}

/** What is known of one connection. */
interface Door {
  readonly parts: DoorkeeperParts;
  readonly context: CallContext;
  readonly timer: unknown;
  readonly ended: () => void;
  state: "waiting" | "asking" | "open" | "over";
  mayTryAgain: boolean;
  inside: (PipeUser & { drain(): void }) | undefined;
}

async function greet(door: Door, message: Uint8Array | string): Promise<void> {
  door.state = "asking";
  const refusing: Refusing = { seal: undefined };
  try {
    const { headers, codec: name } = readClientHello(message);
    const codec = door.parts.codecs.get(name);
    if (!codec) throw new HttpRefusal(415, "invalid_argument", "Cannot connect: the codec is not offered");
    const admitted = admit(
      door.parts.core.guard,
      incomingOf(door.parts, headers, door.context, refusing),
      door.context,
    );
    const admission = admitted instanceof Promise ? await admitted : admitted;
    const answer = { status: 200, contentType: CONNECTION_MEDIA_TYPE, body: undefined };
    const hello = await sealed(admission.seal, answer);
    if (door.state === "asking") enter(door, admission, codec, hello);
  } catch (error) {
    if (error instanceof ProtocolError) return end(door, CLOSE.protocol);
    await refuse(door, error, refusing.seal);
  }
}

function enter(door: Door, admission: Admission, codec: Codec, hello: ServerHello): void {
  door.parts.clock.clear(door.timer);
  const { url, certificate } = door.parts;
  const { channel, admitCall } = admission;
  const guard: Guard = {
    start() {},
    admit(incoming) {
      if (admitCall) return admitCall.call(admission, incoming);
      throw new RpcError("permission_denied", "Cannot make calls on this connection");
    },
  };
  const origin = url.slice(0, url.indexOf("/", 8));
  door.inside = serveConnection(
    { core: door.parts.core, guard, codec, origin, certificate },
    {
      pipe: door.parts.pipe,
      channel,
      clock: door.parts.clock,
      maxMessageBytes: codec.maxBytes,
      maxQueuedBytes: MAX_QUEUED_BYTES,
    },
    () => end(door, undefined),
  );
  door.state = "open";
  door.parts.pipe.send(JSON.stringify(hello));
}

async function refuse(door: Door, error: unknown, seal: Seal | undefined): Promise<void> {
  const { wire, http } = await failureOf(error, { method: undefined, context: door.context }, door.parts.core.log);
  const status = http?.status ?? STATUS_OF_CODE[wire.code];
  const answer = { status, contentType: ERROR_MEDIA_TYPE, body: JSON.stringify(wire) };
  // Where it cannot be proven it is sent as it is, and counts as no answer at all.
  const hello = await sealed(seal, answer).catch(() => sealed(undefined, answer));
  if (door.state !== "asking") return;
  door.parts.pipe.send(JSON.stringify(hello));
  if (!door.mayTryAgain || !(error instanceof ProveAgainError) || error.received) return end(door, CLOSE.refused);
  door.mayTryAgain = false;
  door.state = "waiting";
}

function end(door: Door, reason: CloseReason | undefined): void {
  if (door.state === "over") return;
  door.state = "over";
  door.parts.clock.clear(door.timer);
  door.context.end();
  if (reason) door.parts.pipe.close(reason.code, reason.reason);
  door.ended();
}

interface Refusing {
  seal: Seal | undefined;
}

/** The connection as the guard sees it. */
function incomingOf(
  { url, certificate }: DoorkeeperParts,
  headers: Readonly<Record<string, string>>,
  context: CallContext,
  refusing: Refusing,
): Incoming {
  const get = (name: string) => Object.hasOwn(headers, name.toLowerCase()) ? headers[name.toLowerCase()]! : null;
  return {
    method: undefined,
    request: { method: "GET", url, headers: { get } },
    carries: "connection",
    body: () => NO_BODY,
    certificate,
    get correlationId() {
      return context.correlationId;
    },
    sealRefusal(seal) {
      refusing.seal = seal;
    },
  };
}

async function sealed(
  seal: Seal | undefined,
  { status, contentType, body }: {
    readonly status: number;
    readonly contentType: string;
    readonly body: string | undefined;
  },
): Promise<ServerHello> {
  const proof = seal && await proven(seal, { status, contentType, body });
  return { status, headers: { "content-type": contentType, ...proof }, body: body ?? "" };
}

const NOBODY = {};
