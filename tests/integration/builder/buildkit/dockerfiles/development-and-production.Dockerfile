FROM {base} AS development
{tools}
WORKDIR /app
ENV MODE=dev
COPY . .
CMD ["npm", "start"]
FROM development AS dev-envs
RUN apk add git
FROM {base} AS production
ENV MODE=prod
COPY --from=development /app/src /srv
