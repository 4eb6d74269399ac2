// The lobby: it gives anybody who comes with a browser what is needed to be let in to one room.
import { createServer, implement, publicOnly, type Server } from "@postern/rpc";
import {
  attenuate,
  type Authority,
  authorityService,
  type Capability,
  exact,
  type Identity,
  type JoinTokens,
  optional,
  wildcard,
} from "@postern/rpc/auth";
import type { Log } from "@postern/rpc/rpc";
import { CHAT, GUESTS, Lobby } from "./contracts.ts";

const HOUR_MS = 3_600_000;

/** What a lobby runs with. */
export interface LobbyOptions {
  readonly authority: Authority;
  readonly tokens: JoinTokens;
  readonly identity: Identity;
  /** The lobby's own right, to talk in all rooms; a new one each time, because rights end. */
  readonly right: () => Promise<Capability>;
  readonly log: Log;
}

export function createLobby({ authority, tokens, identity, right, log }: LobbyOptions): Server {
  const lobby = implement(Lobby, {
    async invite({ room, name }) {
      // Here a real lobby asks who it is.
      const id = `${GUESTS}/${crypto.randomUUID()}`;
      const token = tokens.create({ id, attributes: { name } }, { lifetimeMs: 60_000 });
      const narrow = await attenuate(await right(), identity, {
        holder: id,
        tools: { "chat.v1/talk": { room: exact(room), text: optional(wildcard()) } },
        audience: CHAT,
        lifetimeMs: HOUR_MS,
        depth: 0,
      });
      return {
        joinToken: token.reveal(),
        right: narrow.chain.reveal(),
        bundle: JSON.stringify(authority.bundle()),
      };
    },
  });
  const methods = ["lobby.v1/invite", "postern.authority.v1/enroll", "postern.authority.v1/bundle"];
  return createServer([lobby, authorityService(authority)], { guard: publicOnly(methods), log });
}
