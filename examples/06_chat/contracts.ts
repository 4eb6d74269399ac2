// Two contracts: in the chat both sides go on talking; in the lobby a page gets what it needs to be let in.
import { rpc, service, stream } from "@postern/rpc";
import * as v from "valibot";

const Room = v.pipe(v.string(), v.regex(/^[a-z]{1,16}$/));
const Name = v.pipe(v.string(), v.regex(/^[A-Za-z]{1,16}$/));
const Text = v.pipe(v.string(), v.minLength(1), v.maxLength(500));

export const Chat = service("chat.v1", {
  /** The first message enters its room, with or without a text; all others are for the same room. */
  talk: rpc(
    stream(v.strictObject({ room: Room, text: v.optional(Text) })),
    stream(v.object({ from: v.string(), did: v.picklist(["enter", "leave", "say"]), text: v.optional(v.string()) })),
  ),
});

/** Something that happened in a room. */
export interface Happening {
  readonly from: string;
  readonly did: "enter" | "leave" | "say";
  readonly text?: string | undefined;
}

export const Lobby = service("lobby.v1", {
  invite: rpc(
    v.strictObject({ room: Room, name: Name }),
    v.object({ joinToken: v.string(), right: v.string(), bundle: v.string() }),
  ),
});

export const CHAT = "spiffe://example.org/chat";
export const LOBBY = "spiffe://example.org/lobby";
export const GUESTS = "spiffe://example.org/guests";
