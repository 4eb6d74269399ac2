// The site: the page, the lobby and the chat, all of one origin.
import { issueCapability, optional, wildcard } from "@postern/rpc/auth";
import { serve, type Serving } from "@postern/rpc/deno";
import type { Log } from "@postern/rpc/rpc";
import { authority, join, tokens, trust } from "../02_identity/authority.ts";
import { createChat } from "./chat_server.ts";
import { CHAT, LOBBY } from "./contracts.ts";
import { createLobby } from "./lobby.ts";

/** What a site runs with. */
export interface SiteOptions {
  readonly cert: string;
  readonly key: string;
  /** The port, 0 for any free one. */
  readonly port: number;
  /** What answers a browser that asks for the page. @default {nothing} */
  readonly page?: (path: string) => Response | undefined;
  readonly log: Log;
}

export async function startSite({ page, log, ...where }: SiteOptions): Promise<Serving> {
  const tools = { "chat.v1/talk": { room: wildcard(), text: optional(wildcard()) } };
  const right = () => issueCapability(authority, { holder: LOBBY, tools, lifetimeMs: 3_600_000 });
  const lobby = createLobby({ authority, tokens, identity: await join(LOBBY), right, log });
  const identity = await join(CHAT, ["chat.v1"]);

  // The chat is told which pages may connect, and where its own page is only shows once the port is known.
  const serving = await serve({
    fetch: (request) => page?.(new URL(request.url).pathname) ?? lobby.fetch(request),
    upgrade: (request, info) => chat.upgrade(request, info),
    async [Symbol.asyncDispose]() {
      await Promise.all([chat[Symbol.asyncDispose](), lobby[Symbol.asyncDispose]()]);
    },
  }, { ...where, drainMs: 1_000 }); // conversations have no end to wait for
  const chat = createChat({ identity, trust, origins: [serving.url], log });
  return serving;
}
