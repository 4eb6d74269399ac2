import { failureOf } from "./failure.ts";
import { type OpenFrame, ProtocolError } from "./frames.ts";
import { CLOSE, type Link, link, type LinkParts, MAX_CALLS_PER_CONNECTION } from "./link.ts";
import type { PipeUser } from "./pipe.ts";
import { RpcError } from "./rpc_error.ts";
import {
  cancelCall,
  endMessages,
  serveCall,
  type ServedCall,
  type ServedCallPlace,
  type ServedConnectionParts,
  takeCredit,
  takeMessage,
} from "./served_call.ts";

/** One connection on the server's side, once it is let in. */
export interface ServedConnection extends PipeUser {
  /** Takes no more calls, and ends when those under way are answered. */
  drain(): void;
}

/** How many beats of the heart (15 s each) a connection without calls is kept: 60 s. */
const IDLE_BEATS = 4;

/** Serves the calls of a connection; `lost` is told once that it is over. */
export function serveConnection(
  parts: ServedConnectionParts,
  linkParts: LinkParts,
  lost: () => void,
): ServedConnection {
  const calls = new Map<number, ServedCall>();
  const connection: Link = link(linkParts, {
    open: (id, frame) => open(own, id, frame),
    message(id, bytes, ends) {
      const call = known(own, id);
      if (call) takeMessage(call, bytes, ends);
    },
    end(id) {
      const call = known(own, id);
      if (call) endMessages(call);
    },
    cancel(id) {
      const call = known(own, id);
      if (call) cancelCall(call);
    },
    credit(id, messages, bytes) {
      const call = known(own, id);
      if (call) takeCredit(call, messages, bytes);
    },
    error: fromServersOnly,
    drain: fromServersOnly,
    beat: () => beat(own),
    lost() {
      own.over = true;
      for (const call of [...calls.values()]) cancelCall(call);
      lost();
    },
  });
  const own: Own = {
    calls,
    connection,
    place: { parts, link: connection, over: (id, outlived) => left(own, id, outlived) },
    lastId: 0,
    outliving: 0,
    idleBeats: 0,
    draining: false,
    over: false,
  };
  return { receive: connection.receive, closed: connection.closed, drain: () => drain(own) };
}

/** What is known of one connection. */
interface Own {
  readonly calls: Map<number, ServedCall>;
  readonly connection: Link;
  readonly place: ServedCallPlace;
  lastId: number;
  /** How many handlers run whose calls are over. */
  outliving: number;
  idleBeats: number;
  draining: boolean;
  over: boolean;
}

function left(own: Own, id: number, outlived: Promise<unknown> | undefined): void {
  own.calls.delete(id);
  if (outlived) {
    const free = () => {
      own.outliving--;
    };
    own.outliving++;
    outlived.then(free, free);
  }
  if (own.draining && own.calls.size === 0 && !own.over) own.connection.close(CLOSE.ending);
}

function open(own: Own, id: number, frame: OpenFrame): void {
  if (id !== own.lastId + 1) throw new ProtocolError("A call out of order");
  own.lastId = id;
  own.idleBeats = 0;
  // The client knows how many it has under way, but not how many handlers outlive them.
  if (own.calls.size >= MAX_CALLS_PER_CONNECTION) throw new ProtocolError("More calls than a connection carries");
  if (own.outliving >= MAX_CALLS_PER_CONNECTION) return void refuse(own, id);
  const call = serveCall(id, frame, own.place);
  if (own.over) cancelCall(call);
  else own.calls.set(id, call);
}

/** The call that is meant; undefined where it is over, which the other side may not have known. */
function known(own: Own, id: number): ServedCall | undefined {
  if (id > own.lastId) throw new ProtocolError("A call that was not opened");
  return own.calls.get(id);
}

async function refuse(own: Own, id: number): Promise<void> {
  const error = new RpcError("resource_exhausted", "Cannot take the call: too many are under way on the connection");
  const { wire } = await failureOf(error, { method: undefined, context: undefined }, own.place.parts.core.log);
  own.connection.error(id, JSON.stringify(wire));
}

function beat(own: Own): void {
  own.idleBeats = own.calls.size > 0 ? 0 : own.idleBeats + 1;
  if (own.idleBeats < IDLE_BEATS) return;
  // A call may be on its way: the client is told first, and leaves by itself.
  if (own.idleBeats === IDLE_BEATS) own.connection.drain();
  else own.connection.close(CLOSE.done);
}

function drain(own: Own): void {
  if (own.draining || own.over) return;
  own.draining = true;
  if (own.calls.size === 0) return own.connection.close(CLOSE.ending);
  own.connection.drain();
}

function fromServersOnly(): never {
  throw new ProtocolError("A frame that only servers send");
}
