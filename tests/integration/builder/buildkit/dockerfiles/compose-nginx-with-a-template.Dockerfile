FROM {base} AS builder
{tools}
COPY --parents src/**/*.js public/index.html /w/
FROM {base} AS release
RUN rm -rf /usr/share/html && mkdir -p /etc/nginx /usr/share/html
COPY --from=builder /w /usr/share/html
RUN echo "daemon off;" > /etc/nginx/nginx.conf
EXPOSE 80/tcp 443
CMD ["nginx", "-g", "daemon off;"]
