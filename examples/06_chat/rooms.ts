// The rooms: who is in each of them, and what each member has still to hear.
import { RpcError } from "@postern/rpc";
import type { Happening } from "./contracts.ts";

/** How much a member may have still to hear; who reads more slowly than others talk is put out, so that nobody waits. */
const MAX_UNHEARD = 64;

/** Somebody in a room. */
export interface Member {
  /** What happens in the room from now on; it fails when the member was put out. */
  readonly heard: ReadableStream<Happening>;
  /** Tells everybody in the room. */
  say(text: string): void;
  /** Takes the member out of the room, and tells the others; with an error, that is what the member hears last. */
  leave(error?: unknown): void;
}

/** Rooms in memory. */
export interface Rooms {
  enter(room: string, name: string): Member;
}

export function createRooms(): Rooms {
  const rooms = new Map<string, Set<(happening: Happening) => void>>();
  return {
    enter(room, name) {
      const members = rooms.get(room) ?? new Set();
      rooms.set(room, members);
      const tell = (happening: Happening) => members.forEach((hear) => hear(happening));
      const out = () => {
        if (!members.delete(hear)) return false;
        if (members.size === 0) rooms.delete(room);
        tell({ from: name, did: "leave" });
        return true;
      };
      let queue: ReadableStreamDefaultController<Happening>;
      const heard = new ReadableStream<Happening>({
        start: (controller) => void (queue = controller),
        cancel: () => void out(),
      }, { highWaterMark: MAX_UNHEARD });
      const hear = (happening: Happening) => {
        if (queue.desiredSize! > 0) return queue.enqueue(happening);
        queue.error(new RpcError("resource_exhausted", "You listen more slowly than the others talk"));
        out();
      };
      members.add(hear);
      tell({ from: name, did: "enter" });
      return {
        heard,
        say: (text) => tell({ from: name, did: "say", text }),
        leave(error) {
          if (out()) error === undefined ? queue.close() : queue.error(error);
        },
      };
    },
  };
}
