// The chat: who talks needs a right to the room, and each message must be within it.
import { createServer, implement, RpcError, type Server } from "@postern/rpc";
import { allow, type Identity, policy, protect, type Trust } from "@postern/rpc/auth";
import type { Log } from "@postern/rpc/rpc";
import { Chat, GUESTS } from "./contracts.ts";
import { createRooms, type Member } from "./rooms.ts";

const rules = policy([allow({ caller: `${GUESTS}/*`, call: "chat.v1/talk", capability: true })]);

/** What a chat runs with. */
export interface ChatOptions {
  readonly identity: Identity;
  readonly trust: Trust;
  /** The web pages that may connect: any page of the world can make a browser try. */
  readonly origins: readonly string[];
  readonly log: Log;
}

export function createChat({ identity, trust, origins, log }: ChatOptions): Server {
  const rooms = createRooms();
  const chat = implement(Chat, {
    async *talk(messages, { caller }) {
      const lines = messages[Symbol.asyncIterator]();
      const { value: first } = await lines.next();
      if (!first) return;
      const member = rooms.enter(first.room, caller!.attributes["name"]!);
      // Also when the tab was closed or the connection broke: then there is no next message, but an error.
      speak(lines, first, member).then(() => member.leave(), member.leave);
      try {
        yield* member.heard;
      } finally {
        member.leave();
      }
    },
  });
  return createServer(chat, { guard: protect({ identity, trust, policy: rules }), origins, log });
}

interface Line {
  readonly room: string;
  readonly text?: string | undefined;
}

/** Says what a member says for as long as it does. */
async function speak(lines: AsyncIterator<Line>, first: Line, member: Member): Promise<void> {
  for (let line: Line | undefined = first; line; line = (await lines.next()).value) {
    if (line.room !== first.room) throw new RpcError("invalid_argument", "One call talks in one room");
    if (line.text !== undefined) member.say(line.text);
  }
}
