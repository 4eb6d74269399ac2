// A guest: the same code in a browser's page and in a terminal. It uses nothing but what the web has.
import { anonymous, type Client, createClient, fetchTransport, webSocketTransport } from "@postern/rpc";
import {
  createTrust,
  generateIdentity,
  prove,
  readChain,
  remoteAuthority,
  secret,
  type TrustBundle,
} from "@postern/rpc/auth";
import type { FetchTransportOptions, WebSocketTransportOptions } from "@postern/rpc/rpc";
import { CHAT, Chat, type Happening, Lobby } from "./contracts.ts";

/** Somebody who may talk in one room. */
export interface Guest extends AsyncDisposable {
  /** Enters a room; the server refuses any but the one that the guest was invited to. */
  enter(room: string): Conversation;
}

/** A place in a room. */
export interface Conversation {
  /** What happens there, from one's own entering on. */
  readonly heard: AsyncIterable<Happening>;
  say(text: string): void;
  leave(): void;
}

/** What differs outside of a browser, where a program says itself whom its connections trust. */
export interface GuestOptions {
  readonly fetch?: FetchTransportOptions["fetch"];
  readonly open?: WebSocketTransportOptions["open"];
}

export async function invite(
  url: string,
  asks: { readonly room: string; readonly name: string },
  { fetch, open }: GuestOptions = {},
): Promise<Guest> {
  const lobby = fetchTransport(url, { prover: anonymous(), ...fetch && { fetch } });
  const { joinToken, right, bundle } = await createClient(Lobby, lobby).invite(asks);
  const trust = await createTrust({ "example.org": JSON.parse(bundle) as TrustBundle });
  // The key is made here and cannot be exported: a script that steals the token and the right can do nothing with them.
  const identity = await generateIdentity(remoteAuthority("example.org", lobby), {
    evidence: { type: "join_token", token: joinToken },
  });
  const prover = prove({ identity, trust, peer: CHAT, capability: readChain(secret(right)) });
  const transport = webSocketTransport(url.replace("https:", "wss:"), { prover, ...open && { open } });
  const chat = createClient(Chat, transport);
  return {
    enter: (room) => converse(chat, room),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

function converse(chat: Client<typeof Chat.methods>, room: string): Conversation {
  let lines: ReadableStreamDefaultController<{ readonly room: string; readonly text?: string }>;
  const said = new ReadableStream({
    start(controller: typeof lines) {
      lines = controller;
      lines.enqueue({ room });
    },
  });
  return {
    heard: chat.talk(said),
    say: (text) => lines.enqueue({ room, text }),
    leave: () => lines.close(),
  };
}
