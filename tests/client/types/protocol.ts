// What `quart-wshub types` writes, in small.

export interface ChatSend {
  room: string;
  text: string;
}

export interface ClientMessages {
  "chat.send": ChatSend;
  "chat.typing": { room?: string };
  ping_all: Record<string, never>;
}

export interface ServerMessages {
  "chat.message": { topic: string; from: string; text: string };
  "chat.joined": { topic: string; user: string };
  "client.where": { unit: "m" | "km" };
}

export interface Replies {
  "chat.send": { id: number };
}

export interface Protocol {
  client: ClientMessages;
  server: ServerMessages;
  replies: Replies;
}
