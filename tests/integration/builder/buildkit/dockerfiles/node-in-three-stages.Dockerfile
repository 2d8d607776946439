FROM {base} AS base
{tools}
WORKDIR /app
FROM base AS deps
COPY package.json package-lock.json ./
RUN --mount=type=cache,id=npm,target=/root/.npm npm ci
RUN mkdir -p node_modules/a && touch node_modules/a/b
FROM base AS build
COPY --from=deps /app/node_modules ./node_modules
COPY . .
RUN npm run build && mkdir dist && cp src/* dist/
FROM base
ENV NODE_ENV=production
COPY --from=build --chown=1000:1000 /app/dist ./dist
COPY --from=deps /app/node_modules ./node_modules
USER 1000
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=3s CMD wget -q -O- http://localhost:3000/ || exit 1
ENTRYPOINT ["node", "dist/index.js"]
